package inspect

// Request is what a CRI client asked for beyond the settings of a [Report].
type Request struct {
	// Mounts are what the client asked to be mounted, in its order: volumes, and
	// what the kubelet gives every container.
	Mounts []RequestedMount `json:"mounts"`
	// MaskedPaths and ReadonlyPaths are those to be hidden and made read-only.
	// The kubelet asks for none with procMount: Unmasked; what it asks for has
	// no effect in a privileged container.
	MaskedPaths   []string `json:"maskedPaths"`
	ReadonlyPaths []string `json:"readonlyPaths"`
	// Ports are those of a sandbox: the kubelet names the ports of all of a
	// pod's containers but its init containers'.
	Ports []RequestedPort `json:"ports"`
	// Devices are those that were asked for. A folder of the node stands for all
	// devices in it.
	Devices []RequestedDevice `json:"devices"`
	// CDI are the names of devices by the Container Device Interface. Since
	// Kubernetes 1.28; before, and from other clients, annotations have them.
	CDI []string `json:"cdi"`
}

// RequestedDevice is a device of a CRI request.
type RequestedDevice struct {
	// Path is the place in the container, Source the node's device or folder.
	Path   string `json:"path"`
	Source string `json:"source"`
	// Access is of r, w and m.
	Access string `json:"access"`
}

// RequestedMount is a mount of a CRI request.
type RequestedMount struct {
	// Destination is the place in the container.
	Destination string `json:"destination"`
	// Source is the host's file or folder; empty for an image.
	Source string `json:"source,omitempty"`
	// Image tells that an image is mounted. Since Kubernetes 1.31.
	Image bool `json:"image,omitempty"`
	// Readonly tells that it should be read-only.
	Readonly bool `json:"readonly"`
}

// RequestedPort is a port mapping of a CRI request.
type RequestedPort struct {
	// Container is the port in the pod, Host the one on the node that leads to
	// it; 0 when none does.
	Container int32 `json:"container"`
	Host      int32 `json:"host"`
	// HostIP is the node's address that it is on; empty for all.
	HostIP string `json:"hostIP,omitempty"`
}

// requestedMount is the CRI's Mount, requestedPort its PortMapping.
type requestedMount struct {
	ContainerPath string    `json:"container_path"`
	HostPath      string    `json:"host_path"`
	Readonly      bool      `json:"readonly"`
	Image         *struct{} `json:"image"`
}

type requestedPort struct {
	ContainerPort int32  `json:"container_port"`
	HostPort      int32  `json:"host_port"`
	HostIP        string `json:"host_ip"`
}

// requestedDevice is the CRI's Device, requestedCDI its CDIDevice.
type requestedDevice struct {
	ContainerPath string `json:"container_path"`
	HostPath      string `json:"host_path"`
	Permissions   string `json:"permissions"`
}

type requestedCDI struct {
	Name string `json:"name"`
}

// requestRest returns what was asked for besides the settings.
func (f *listed) requestRest() Fact[Request] {
	switch {
	case f.requestErr != nil:
		return UnknownFact[Request](f.requestErr)
	case f.request == nil && f.record.CRI:
		return AbsentFact[Request]("this runtime does not report the " + requestSource)
	case f.request == nil:
		return AbsentFact[Request]("not made through the CRI")
	}
	return requested(f.request.rest())
}

func (q *request) rest() Request {
	sc := q.security()
	r := Request{
		Mounts: []RequestedMount{}, Ports: []RequestedPort{}, Devices: []RequestedDevice{}, CDI: []string{},
		MaskedPaths: append([]string{}, sc.MaskedPaths...), ReadonlyPaths: append([]string{}, sc.ReadonlyPaths...),
	}
	for _, m := range q.Config.Mounts {
		r.Mounts = append(r.Mounts, RequestedMount{Destination: m.ContainerPath, Source: m.HostPath, Image: m.Image != nil, Readonly: m.Readonly})
	}
	for _, p := range q.Config.Ports {
		r.Ports = append(r.Ports, RequestedPort{Container: p.ContainerPort, Host: p.HostPort, HostIP: p.HostIP})
	}
	for _, d := range q.Config.Devices {
		r.Devices = append(r.Devices, RequestedDevice{Path: d.ContainerPath, Source: d.HostPath, Access: d.Permissions})
	}
	for _, d := range q.Config.CDI {
		r.CDI = append(r.CDI, d.Name)
	}
	return r
}
