package inspect

import "testing"

func TestAFALG(t *testing.T) {
	const (
		builtin = "lib/modules/6.1.0-18-amd64/modules.builtin"
		dep     = "lib/modules/6.1.0-18-amd64/modules.dep"
		none    = "kernel/crypto/sha256.ko: kernel/crypto/x.ko\n"
		header  = "protocol  size sockets  memory\n"
	)
	afALG := func(n Node) string { return fact(n.AFALG) }
	tryNode(t, map[string]nodeCase{
		"loaded":             {map[string]string{"proc/modules": "loop 1 0 - Live 0x0\nalgif_aead 16384 0 - Live 0x0\n"}, afALG, `"loaded"`},
		"another is loaded":  {map[string]string{"proc/modules": "algif_aead2 1 0 - Live 0x0\n", builtin: none, dep: none}, afALG, "absent: algif_aead is not loaded and not in ROOT/lib/modules/6.1.0-18-amd64"},
		"built in":           {map[string]string{"proc/modules": "", "proc/1/net/protocols": header + "ALG  1 2 3\n", builtin: "kernel/crypto/algif_aead.ko\n", dep: none}, afALG, `"built in"`},
		"built in, modules":  {map[string]string{"proc/modules": "loop 1\n", builtin: "kernel/crypto/algif_aead.ko\n", dep: none}, afALG, `"built in"`},
		"loadable":           {map[string]string{"proc/modules": "loop 1\n", builtin: none, dep: none + "kernel/crypto/algif_aead.ko.xz: kernel/crypto/af_alg.ko.xz\n"}, afALG, `"loadable"`},
		"needed by another":  {map[string]string{"proc/modules": "loop 1\n", builtin: none, dep: "kernel/x.ko: kernel/crypto/algif_aead.ko\n"}, afALG, "absent: "},
		"no list":            {map[string]string{"proc/modules": "loop 1\n"}, afALG, "unknown: open ROOT/" + builtin},
		"no modules":         {map[string]string{"proc/1/net/protocols": header + "TCP 1 2 3\n"}, afALG, "absent: this kernel has no AF_ALG, and loads no modules"},
		"no modules, but it": {map[string]string{"proc/1/net/protocols": header + "ALG 1 2 3\n"}, afALG, "unknown: this kernel has AF_ALG built in"},
		"no protocols":       {map[string]string{"proc/1/net/protocols": "\n"}, afALG, "unknown: ROOT/proc/1/net/protocols: want the header"},
		"nothing":            {nil, afALG, "unknown: open ROOT/proc/1/net/protocols"},
	})
}
