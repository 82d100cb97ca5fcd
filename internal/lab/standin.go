package lab

import (
	corev1 "k8s.io/api/core/v1"
)

// Images the lab document names, without the registry's and library's prefix,
// and what stands in for their programs. The local image is known by these
// names too, so the runtime reports the image that the manifest names.
var standIns = map[string][]string{
	// A web server in the foreground. The port is not 80: containerd 1.6 leaves
	// low ports to those with an effective NET_BIND_SERVICE, which no user but
	// root has.
	"nginx:1.27": {"httpd", "-f", "-p", "8080", "-h", "/var/cache/nginx"},
	// Takes 200 MiB and writes to all of it, as stress --vm-bytes 200M does.
	"polinux/stress": {"dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"},
}

// imageNames are the names under which the local image is stored.
var imageNames = []string{
	busyboxImage,
	"docker.io/library/nginx:1.27",
	"docker.io/polinux/stress:latest",
}

// standIn returns the command and arguments to run for a container.
func standIn(c corev1.Container) (command, args []string) {
	if command, ok := standIns[c.Image]; ok {
		return command, nil
	}
	return c.Command, c.Args
}
