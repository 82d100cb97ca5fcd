package inspect

import (
	"encoding/json"
	"testing"

	"github.com/rtinspect/rtinspect/internal/runtimeapi"
)

func TestRequestRest(t *testing.T) {
	const (
		none   = `{"state":"known","value":{"mounts":[],"maskedPaths":[],"readonlyPaths":[],"ports":[],"devices":[],"cdi":[]},"source":"CRI request"}`
		config = `{"mounts":[
			{"container_path":"/etc/hosts","host_path":"/var/lib/kubelet/pods/u/etc-hosts"},
			{"container_path":"/data","host_path":"/srv","readonly":true},
			{"container_path":"/image","image":{"image":"example.com/x"}}],
		"port_mappings":[{"container_port":80},{"container_port":443,"host_port":8443,"host_ip":"127.0.0.1"}],
		"devices":[{"container_path":"/dev/x","host_path":"/dev/y","permissions":"rw"}],"CDI_devices":[{"name":"vendor.com/gpu=0"}],
		"linux":{"security_context":{"masked_paths":["/proc/kcore"],"readonly_paths":["/proc/sys"]}}}`
		rest = `{"state":"known","value":{"mounts":[` +
			`{"destination":"/etc/hosts","source":"/var/lib/kubelet/pods/u/etc-hosts","readonly":false},` +
			`{"destination":"/data","source":"/srv","readonly":true},` +
			`{"destination":"/image","image":true,"readonly":false}],` +
			`"maskedPaths":["/proc/kcore"],"readonlyPaths":["/proc/sys"],` +
			`"ports":[{"container":80,"host":0},{"container":443,"host":8443,"hostIP":"127.0.0.1"}],` +
			`"devices":[{"path":"/dev/x","source":"/dev/y","access":"rw"}],"cdi":["vendor.com/gpu=0"]},"source":"CRI request"}`
	)
	for config, want := range map[string]string{`{}`: none, `{"linux":{}}`: none, config: rest} {
		q, err := parseRequest([]byte(`{"Version":"v1","Metadata":{"Config":` + config + `}}`))
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := json.Marshal((&listed{request: q}).requestRest()); string(got) != want {
			t.Errorf("%s:\n got %s\nwant %s", config, got, want)
		}
	}
	_, broken := parseRequest([]byte(`{`))
	for want, f := range map[Known]*listed{
		Unknown: {requestErr: broken},
		Absent:  {record: &runtimeapi.Container{CRI: true}},
	} {
		if got := f.requestRest(); got.Known() != want {
			t.Errorf("%v, want %s", got, want)
		}
	}
}
