package inspect

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// formatACL writes the extended attribute.
func formatACL(acl []ACLEntry) []byte {
	value := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range acl {
		id := e.ID
		if !e.Tag.named() {
			id = aclNoID
		}
		value = binary.LittleEndian.AppendUint16(value, uint16(e.Tag))
		value = binary.LittleEndian.AppendUint16(value, uint16(e.Perm))
		value = binary.LittleEndian.AppendUint32(value, id)
	}
	return value
}

func TestParseACL(t *testing.T) {
	// setfacl -m u:1000:rw,g:5:r on a file of mode 0640.
	value := []byte("\x02\x00\x00\x00" +
		"\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x06\x00\xe8\x03\x00\x00" +
		"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x08\x00\x04\x00\x05\x00\x00\x00" +
		"\x10\x00\x06\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff")
	want := []ACLEntry{
		{ACLOwner, 0, 6},
		{ACLUser, 1000, 6},
		{ACLOwningGroup, 0, 4},
		{ACLGroup, 5, 4},
		{ACLMask, 0, 6},
		{ACLOther, 0, 0},
	}
	got, err := parseACL(value)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for name, tc := range map[string]struct {
		value []byte
		want  string
	}{
		"empty":            {nil, "0 bytes"},
		"cut off":          {value[:len(value)-1], "51 bytes"},
		"another version":  {append([]byte{3}, value[1:]...), "version 3"},
		"nothing in it":    {value[:4], "without entries for owner"},
		"no mask":          {formatACL(slices.Delete(slices.Clone(want), 4, 5)), "without a mask"},
		"unknown tag":      {formatACL([]ACLEntry{{0x40, 0, 6}}), "tag 0x40"},
		"out of order":     {formatACL([]ACLEntry{{ACLOther, 0, 6}, {ACLOwner, 0, 6}}), "owner after other"},
		"twice":            {formatACL([]ACLEntry{{ACLOwner, 0, 6}, {ACLOwner, 0, 6}}), "owner after owner"},
		"more permissions": {formatACL([]ACLEntry{{ACLOwner, 0, 8}}), "permissions 010"},
		"id of the owner":  {bytes.Replace(value, []byte("\x06\x00\xff\xff\xff\xff"), []byte("\x06\x00\x00\x00\x00\x00"), 1), "an id in entry owner"},
	} {
		if _, err := parseACL(tc.value); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v; want %q", name, err, tc.want)
		}
	}
}

func FuzzParseACL(f *testing.F) {
	f.Add(formatACL([]ACLEntry{{ACLOwner, 0, 6}, {ACLUser, 0, 7}, {ACLOwningGroup, 0, 4}, {ACLMask, 0, 6}, {ACLOther, 0, 0}}))
	f.Add(formatACL([]ACLEntry{{ACLOwner, 0, 6}, {ACLOwningGroup, 0, 4}, {ACLGroup, 7, 1}, {ACLGroup, 7, 2}, {ACLMask, 0, 6}, {ACLOther, 0, 0}}))
	f.Fuzz(func(t *testing.T, value []byte) {
		acl, err := parseACL(value)
		if err != nil {
			return
		}
		if again := formatACL(acl); !bytes.Equal(again, value) {
			t.Errorf("%x printed as %x", value, again)
		}
		data, err := json.Marshal(acl)
		if err != nil {
			t.Fatal(err)
		}
		var back []ACLEntry
		if err := json.Unmarshal(data, &back); err != nil || !slices.Equal(back, acl) {
			t.Errorf("%s read as %v, %v", data, back, err)
		}
	})
}

func TestACLEntryJSON(t *testing.T) {
	data, err := json.Marshal([]ACLEntry{{ACLUser, 0, 6}, {ACLMask, 0, 5}})
	const want = `[{"tag":"user","id":0,"perm":"rw-"},{"tag":"mask","perm":"r-x"}]`
	if err != nil || string(data) != want {
		t.Errorf("%s, %v; want %s", data, err, want)
	}
	for _, bad := range []string{`{"tag":"user","perm":"rw-"}`, `{"tag":"mask","id":1,"perm":"rw-"}`, `{"tag":"all","perm":"rw-"}`, `{"tag":"mask","perm":"rwxx"}`, `{"tag":"mask","perm":"wr-"}`} {
		if err := json.Unmarshal([]byte(bad), new(ACLEntry)); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}
