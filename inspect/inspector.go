package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/internal/procfs"
	"github.com/rtinspect/rtinspect/internal/runtimeapi"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// The classes of error a caller acts on.
var (
	// ErrNoRuntime says that no container runtime could be reached.
	ErrNoRuntime = runtimeapi.ErrNoRuntime
	// ErrNoProcess says that a process does not exist, or ended while it was
	// read.
	ErrNoProcess = procfs.ErrNoProcess
	// ErrNotFound says that no container has a name.
	ErrNotFound = errors.New("no such container")
	// ErrAmbiguous says that several containers have a name.
	ErrAmbiguous = errors.New("ambiguous name")
	// ErrNotTheContainer says that the process the runtime named is not the
	// container's, or cannot be told to be. Its facts are not shown.
	ErrNotTheContainer = errors.New("not the container's process")
)

// EndpointVariable is the environment variable that names the runtime's socket.
const EndpointVariable = runtimeapi.EndpointVariable

// CheckEndpoint refuses an address that cannot be a runtime's, without
// contacting it.
func CheckEndpoint(address string) error { return runtimeapi.CheckAddress(address) }

// Options say what to inspect. The zero value is this machine and its runtime.
type Options struct {
	// Endpoint is the runtime's socket, unix:///path. When empty it is taken
	// from the environment variable CONTAINER_RUNTIME_ENDPOINT, else from
	// runtime-endpoint in /etc/crictl.yaml, else the first of the well-known
	// sockets that answers is used: containerd, CRI-O, cri-dockerd, k3s, k0s,
	// microk8s, Docker's containerd. One that is named is never replaced by
	// another.
	Endpoint string
	// HostRoot is where the node's file system is mounted, for use inside a
	// pod. Empty means /. An Endpoint is not below it; the sockets that are
	// discovered are.
	HostRoot string
	// Timeout bounds each call to the runtime. Zero means 10 s. A socket that
	// accepts the connection and stays silent is given up after 2 s.
	Timeout time.Duration
	// Parts are what is read for a [Report]; zero is all. What is left out is
	// unknown.
	Parts Parts
	// ShowSecrets keeps what is "<redacted>" otherwise: the values of environment
	// variables, of annotations that have them in a copy of the pod's manifest,
	// of labels and annotations whose names speak of a secret, and of passwords
	// in the options of declared mounts. Arguments are shown in any case but
	// with RedactArgs.
	ShowSecrets bool
	// RedactArgs hides the arguments of processes, and of the declared first
	// one, but for the program.
	RedactArgs bool
}

// Inspector reads the containers of one node. Its methods may be used by
// several goroutines at once.
type Inspector struct {
	conn      *runtimeapi.Conn
	fs        procfs.FS
	options   Options
	node      Node
	ourselves ourselves
	// host are the namespaces that others are compared with, read once.
	host    func() nsdiff.Host
	cgroups cgroup.Reader
	// distrust is why the runtime's pids must not be looked up in our proc file
	// system; nil when they may.
	distrust error
	// all is what a privileged container can have at most.
	all Fact[caps.Set]
	// noRuntime tells, where conn is nil, why; nil when none is wanted.
	noRuntime error
}

// Open connects to the container runtime. The error wraps [ErrNoRuntime] and
// names every socket that was tried with its cause; [OpenKernel] goes on without
// a runtime. Close the inspector after use.
func Open(ctx context.Context, o Options) (*Inspector, error) {
	conn, err := runtimeapi.Dial(ctx, runtimeapi.Options{Endpoint: o.Endpoint, HostRoot: o.HostRoot, Timeout: o.Timeout})
	if err != nil {
		return nil, err
	}
	i := newInspector(o)
	i.conn = conn
	i.distrust = i.meetRuntime(ctx)
	i.all = allCapabilities(i.node.Runtime, i.node.LastCap)
	return i, nil
}

// newInspector returns an inspector that has no runtime yet.
func newInspector(o Options) *Inspector {
	i := &Inspector{options: o, fs: procfs.FS{Proc: procRoot(o.HostRoot)}}
	i.host = sync.OnceValue(nsdiff.Reader{Proc: i.fs.Proc}.Host)
	i.cgroups = cgroup.Reader{Proc: i.fs.Proc, Sys: filepath.Join("/", o.HostRoot, "sys/fs/cgroup")}
	i.node, i.ourselves = readNode(i.fs), readOurselves(i.fs)
	return i
}

func procRoot(hostRoot string) string {
	if hostRoot == "" {
		return "/proc"
	}
	return filepath.Join(hostRoot, "proc")
}

// Close ends the connection to the runtime.
func (i *Inspector) Close() error {
	if i.conn == nil {
		return nil
	}
	return i.conn.Close()
}

// Node returns what is known of the machine and of the runtime. The settings of
// the kernel are read each time.
func (i *Inspector) Node() Node {
	n := i.node
	n.add(hostAt(i.options.HostRoot))
	return n
}

// List returns every container of the runtime, sandboxes and ended ones
// included, in all of containerd's namespaces. The order is that of namespace,
// pod and name. When a part could not be listed the error says which, and the
// others are returned with it.
func (i *Inspector) List(ctx context.Context) ([]Container, error) {
	found, err := i.list(ctx, false)
	list := make([]Container, len(found))
	parallel(len(found), func(n int) {
		i.identify(&found[n])
		list[n] = found[n].Container
	})
	return list, err
}

// Resolve returns the container that ref names: an id, a unique prefix of one,
// a name, pod/name, namespace/pod/name, or the name of a pod with one
// container. Of several with a name, the only one that has not ended is meant.
// A sandbox has an id only. The error wraps [ErrNotFound], with near names, or
// [ErrAmbiguous], with the candidates.
func (i *Inspector) Resolve(ctx context.Context, ref string) (Container, error) {
	found, err := i.list(ctx, false)
	place, resolveErr := resolve(containersOf(found), ref)
	if resolveErr != nil {
		return Container{}, errors.Join(resolveErr, err)
	}
	i.identify(&found[place])
	return found[place].Container, nil
}

// Container returns the report of one container, see [Inspector.Resolve].
func (i *Inspector) Container(ctx context.Context, ref string) (Report, error) {
	reports, err := i.Containers(ctx, ref)
	if len(reports) == 0 {
		return Report{}, err
	}
	return reports[0], err
}

// Containers returns the reports of the containers that refs name, in that
// order, or without refs of every container that has not ended, without
// sandboxes. The error joins what could not be resolved or listed; what could
// be is returned with it.
func (i *Inspector) Containers(ctx context.Context, refs ...string) ([]Report, error) {
	found, err := i.list(ctx, len(refs) == 0)
	chosen, err := choose(found, refs, err)
	return i.reports(chosen, found), err
}

// Details returns the reports of [Inspector.Containers] with what costs more:
// the rest of the specification, mounts and processes.
func (i *Inspector) Details(ctx context.Context, refs ...string) ([]Report, error) {
	found, err := i.list(ctx, len(refs) == 0)
	chosen, err := choose(found, refs, err)
	return i.collector(newScan(i, found)).details(chosen), err
}

// DetailsOf returns the reports of [Inspector.Details] of every container that is
// wanted, whether it has ended or not: none is no error. Ids are not enough for that:
// two namespaces of containerd may have a container with one id.
func (i *Inspector) DetailsOf(ctx context.Context, wanted func(Container) bool) ([]Report, error) {
	found, err := i.list(ctx, false)
	var chosen []*listed
	for n := range found {
		if wanted(found[n].Container) {
			chosen = append(chosen, &found[n])
		}
	}
	return i.collector(newScan(i, found)).details(chosen), err
}

// choose returns the containers that refs name, see pick. The error joins what
// could not be resolved to err.
func choose(found []listed, refs []string, err error) ([]*listed, error) {
	places, pickErr := pick(containersOf(found), refs)
	var chosen []*listed
	for _, n := range places {
		chosen = append(chosen, &found[n])
	}
	return chosen, errors.Join(err, pickErr)
}

func containersOf(found []listed) []Container {
	list := make([]Container, len(found))
	for n := range found {
		list[n] = found[n].Container
	}
	return list
}

// Snapshot returns the reports of every container, sandboxes and ended ones
// included, with all that [Inspector.Details] tells, of the runtimes' sockets and
// of the node. The error is of what could not be listed, and in Snapshot.Missing
// and MissingSockets too.
func (i *Inspector) Snapshot(ctx context.Context) (Snapshot, error) {
	reports := []Report{}
	s, err := i.snapshot(ctx, func(_ *Snapshot, some []Report) error {
		reports = append(reports, some...)
		return nil
	})
	s.Containers = reports
	return s, err
}

// WriteSnapshot writes what Snapshot returns as [Snapshot.Write] does, while it is collected: it holds a few reports at a time,
// and calls see for each of them. It returns the Snapshot without its containers. What was written when ctx ends is cut short,
// as [ReadSnapshot] will say. The error is that of Snapshot, of writing, or of ctx.
func (i *Inspector) WriteSnapshot(ctx context.Context, w io.Writer, see func(Report)) (Snapshot, error) {
	o := &objectWriter{w: w}
	begun := false
	s, err := i.snapshot(ctx, func(s *Snapshot, some []Report) error {
		if !begun {
			o.head(*s)
			o.begin("containers")
		}
		begun = true
		writeItems(o, some)
		for n := range some {
			see(some[n])
		}
		return o.err
	})
	if err := cmp.Or(ctx.Err(), o.err); err != nil {
		return s, err
	}
	o.end()
	o.tail(s)
	return s, errors.Join(err, o.err)
}

// together is how many reports are collected and written at a time.
const together = 16

// snapshot collects the reports, of which it gives some at a time, first none, and all else.
func (i *Inspector) snapshot(ctx context.Context, give func(*Snapshot, []Report) error) (Snapshot, error) {
	s := Snapshot{Version: SnapshotVersion, Time: time.Now().UTC()}
	// The runtime asks each shim in turn: there is time for the rest of the node.
	var sockets []*foundSocket
	var socketsErr error
	var node, finding sync.WaitGroup
	node.Go(func() { s.Node = i.Node() })
	finding.Go(func() { sockets, socketsErr = i.findSockets(ctx, SocketOptions{}) })
	found, err := i.list(ctx, true)
	s.Missing = causes(err)
	node.Wait()
	finding.Wait()
	if failed := give(&s, nil); failed != nil {
		return s, failed
	}
	c := i.collector(newScan(i, found))
	c.sockets = socketsOf(sockets)
	all := make([]*listed, len(found))
	for n := range found {
		all[n] = &found[n]
	}
	var failed error
	for some := range slices.Chunk(all, together) {
		if failed = ctx.Err(); failed == nil {
			failed = give(&s, c.details(some))
		}
		if failed != nil {
			break
		}
		for _, f := range some {
			f.forget()
		}
	}
	s.Sockets, s.MissingSockets = i.reached(c.sockets, found), causes(socketsErr)
	return s, errors.Join(err, socketsErr, failed)
}

// listed is a container of the list, with what the runtime recorded of it.
type listed struct {
	Container
	record     *runtimeapi.Container
	request    *request
	requestErr error // why request is nil
	spec       *spec // decoded by declared
	specErr    error
	unique     string     // a name that no other container of the list has
	namespaces nsdiff.Set // of the first process, once it was read
	looked     bool       // whether namespaces was read, or tried to be
	gvisor     bool       // as the kernel tells, see markGuest
	reaches    reaches    // of the first process, once that was looked at; nil before
}

// forget frees what is needed for the container's own report only.
func (f *listed) forget() {
	if f.request != nil {
		f.record.Spec, f.record.Metadata, f.spec = nil, nil, nil
	}
}

// declared returns the container's specification, decoded once.
func (f *listed) declared() (*spec, error) {
	if f.spec == nil && f.specErr == nil {
		if f.specErr = f.record.SpecErr; f.specErr == nil {
			f.spec, f.specErr = parseSpec(f.record.Spec)
		}
	}
	return f.spec, f.specErr
}

// list asks the runtime and names what it gave. What takes long is decoded while
// the runtime is at its tasks: the specifications, where they are wanted.
func (i *Inspector) list(ctx context.Context, specs bool) ([]listed, error) {
	if i.conn == nil {
		return i.kernelList()
	}
	records, tasks, err := i.conn.List(ctx)
	found := make([]listed, len(records))
	parallel(len(found), func(n int) {
		found[n] = i.decoded(&records[n])
		if specs {
			found[n].declared()
		}
	})
	tasks()
	for n := range found {
		found[n].State = stateOf(records[n].Task)
	}
	takePods(found)
	slices.SortFunc(found, func(a, b listed) int { return compare(a.Container, b.Container) })
	return found, err
}

func compare(a, b Container) int {
	return cmp.Or(
		cmp.Compare(a.Namespace, b.Namespace),
		cmp.Compare(podKey(a.Pod), podKey(b.Pod)),
		cmp.Compare(a.Kind, b.Kind),
		cmp.Compare(a.Name, b.Name),
		a.CreatedAt.Compare(b.CreatedAt),
		cmp.Compare(a.ID, b.ID),
	)
}

func podKey(p *Pod) string {
	if p == nil {
		return ""
	}
	if p.Name == "" {
		return p.UID
	}
	return p.Namespace + "/" + p.Name
}

// decoded names what a runtime recorded of a container.
func (i *Inspector) decoded(record *runtimeapi.Container) listed {
	f := decode(record)
	i.nameFromDocker(&f)
	if !i.options.ShowSecrets {
		f.Labels, f.Annotations = redactNamed(f.Labels), redactNamed(f.Annotations)
	}
	return f
}

// decode reads a runtime's record of a container.
func decode(record *runtimeapi.Container) listed {
	f := listed{record: record}
	f.request, f.requestErr = decodeRequest(record)
	f.Container = Container{
		ID:          record.ID,
		Name:        cmp.Or(record.Labels[nerdctlName], record.ID),
		Kind:        KindContainer,
		Namespace:   record.Namespace,
		Image:       record.Image,
		Runtime:     record.Runtime,
		CreatedAt:   record.Created.UTC(),
		Labels:      record.Labels,
		Annotations: f.annotations(),
	}
	if record.CRI {
		f.nameFromCRI()
	}
	return f
}

// nameFromCRI takes the names that the kubelet gives as labels, or those of the
// request: other clients, such as crictl, give no labels. The pod of a container
// that has neither is its sandbox's, see takePods.
func (f *listed) nameFromCRI() {
	var q request
	if f.request != nil {
		q = *f.request
	}
	labels := f.record.Labels
	f.Pod = &Pod{
		Name:      labels[runtimeapi.PodNameLabel],
		Namespace: labels[runtimeapi.PodNamespaceLabel],
		UID:       labels[runtimeapi.PodUIDLabel],
		SandboxID: cmp.Or(f.record.SandboxID, q.SandboxID),
	}
	if !f.record.Sandbox {
		f.Name = cmp.Or(labels[runtimeapi.ContainerNameLabel], q.name().Name, f.ID)
		return
	}
	f.Kind = KindSandbox
	f.Pod.Name = cmp.Or(f.Pod.Name, q.name().Name)
	f.Pod.Namespace = cmp.Or(f.Pod.Namespace, q.name().Namespace)
	f.Pod.UID = cmp.Or(f.Pod.UID, q.name().UID)
	f.Name = cmp.Or(f.Pod.Name, f.ID)
}

// takePods gives containers without a pod's name that of their sandbox.
func takePods(found []listed) {
	pods := map[string]*Pod{}
	for n := range found {
		if found[n].Kind == KindSandbox {
			pods[found[n].ID] = found[n].Pod
		}
	}
	for n := range found {
		if p := found[n].Pod; p != nil && p.Name == "" && pods[p.SandboxID] != nil {
			found[n].Pod = pods[p.SandboxID]
		}
	}
}

var errNoRecord = errors.New("containerd has no record of the " + requestSource)

// decodeRequest is nil without an error when there is no request to know of.
func decodeRequest(record *runtimeapi.Container) (*request, error) {
	if !record.CRI || record.Namespace == "" {
		return nil, nil
	}
	if len(record.Metadata) == 0 {
		return nil, errNoRecord
	}
	return parseRequest(record.Metadata)
}

// annotations are those of the request; a container made without the CRI has
// them in its specification only.
func (f *listed) annotations() map[string]string {
	switch {
	case f.record.Annotations != nil:
		return f.record.Annotations
	case f.request != nil:
		return f.request.Config.Annotations
	case f.record.CRI:
		return nil
	}
	if s, err := f.declared(); err == nil {
		return s.Annotations
	}
	return nil
}

func stateOf(t runtimeapi.Task) Fact[State] {
	switch {
	case t.State != "":
		return KnownFact(State(t.State), "runtime")
	case t.Err != nil:
		return UnknownFact[State](t.Err)
	}
	return AbsentFact[State]("it has no task: it was not started, or has ended")
}

// open opens the first process of a container and makes sure that it is of that
// container: the runtime's pids must count in our pid namespace, and the
// process must be in the container's cgroup.
func (i *Inspector) open(f *listed) (*procfs.Process, error) {
	task := f.record.Task
	switch {
	case task.Err != nil:
		return nil, task.Err
	case task.PID == 0, task.State == runtimeapi.Created:
		// Until it is started, its process is the runtime's own.
		return nil, nil
	case i.distrust != nil:
		return nil, i.distrust
	}
	p, err := i.fs.Open(task.PID)
	if err != nil {
		return nil, err
	}
	cgroup, err := p.ReadFile("cgroup")
	if err == nil && !f.ownsCgroup(cgroup) {
		err = fmt.Errorf("process %d, which the runtime names, is in cgroup %s: %w",
			task.PID, lastCgroup(cgroup), ErrNotTheContainer)
	}
	if err != nil {
		_ = p.Close()
		return nil, err
	}
	return p, nil
}

// ownsCgroup tells whether /proc/PID/cgroup is of the container. The specification
// is looked into only when the names alone do not tell.
func (f *listed) ownsCgroup(cgroup []byte) bool {
	if cgroupFits(cgroup, "", f.cgroupIDs()...) {
		return true
	}
	s, _ := f.declared()
	return cgroupFits(cgroup, s.cgroupsPath())
}

// cgroupIDs are the ids by which the container's cgroup may be called. All
// containers of a sandboxed pod run in the sandbox's.
func (f *listed) cgroupIDs() []string {
	ids := []string{f.ID}
	if f.Pod != nil && f.guest() {
		ids = append(ids, f.Pod.SandboxID)
	}
	return ids
}

// lastCgroup shows one of the paths of /proc/PID/cgroup in a message.
func lastCgroup(cgroup []byte) string {
	lines := strings.Split(strings.TrimSpace(string(cgroup)), "\n")
	return strconv.Quote(lines[0])
}

// identify fills in pid and tier from the process.
func (i *Inspector) identify(f *listed) {
	p, err := i.open(f)
	if p == nil {
		f.PID, f.Tier = withoutProcess[int](err), tierWithout(f, err)
		return
	}
	defer p.Close() //nolint:errcheck // opened for reading
	ns := i.ourselves.userNamespace(p)
	if err := p.Alive(); err != nil {
		f.PID, f.Tier = UnknownFact[int](err), tierWithout(f, err)
		return
	}
	i.name(f, p, ns)
}

// name fills in what the first process tells of its container.
func (i *Inspector) name(f *listed, p *procfs.Process, ns Fact[UserNamespace]) {
	if i.conn == nil {
		i.nameFromKernel(f, p)
		return
	}
	f.PID = KnownFact(p.PID(), "runtime and "+p.Path("cgroup"))
	f.Tier = tier(f.Runtime, ns)
}

// withoutProcess is a fact of a process that could not be opened, or that there
// is none of.
func withoutProcess[T any](err error) Fact[T] {
	if err != nil {
		return UnknownFact[T](err)
	}
	return AbsentFact[T]("no process runs")
}

func tierWithout(f *listed, err error) Fact[Tier] {
	if t := runtimeTier(f.Runtime); t != "" {
		return KnownFact(t, f.Runtime)
	}
	return withoutProcess[Tier](err)
}

func tier(runtime string, ns Fact[UserNamespace]) Fact[Tier] {
	if t := runtimeTier(runtime); t != "" {
		return KnownFact(t, runtime)
	}
	n, ok := ns.Value()
	switch {
	case !ok:
		return UnknownFact[Tier](ns.Cause())
	case n.Initial:
		return KnownFact(TierHostKernel, ns.Source())
	}
	return KnownFact(TierUserNamespace, ns.Source())
}

// runtimeTier tells the sandboxing runtimes by their type or handler; it is
// empty for the others.
func runtimeTier(runtime string) Tier {
	switch name := strings.ToLower(runtime); {
	case strings.Contains(name, "runsc"), strings.Contains(name, "gvisor"):
		return TierSandbox
	case strings.Contains(name, "kata"):
		return TierVM
	}
	return ""
}

func (i *Inspector) request(r *Report, f *listed, all Fact[caps.Set]) {
	switch {
	case f.request != nil:
		ask(r, f.request.security(), all)
		r.Cgroup.Requested = f.askedResources()
	case f.requestErr != nil:
		requestUnknown(r, UnknownFact[struct{}](f.requestErr))
	case f.record.CRI:
		requestUnknown(r, AbsentFact[struct{}]("this runtime does not report the "+requestSource))
	default:
		requestUnknown(r, AbsentFact[struct{}]("not made through the CRI"))
	}
	if p := f.record.Privileged; p != nil {
		r.Privileged.Requested = KnownFact(*p, "CRI verbose status")
	}
}

// requestUnknown sets the requested level of every setting to one cause or
// reason.
func requestUnknown(r *Report, why Fact[struct{}]) {
	r.Capabilities.Requested = like[CapabilityRequest](why)
	r.User.Requested = like[UserRequest](why)
	r.NoNewPrivs.Requested = like[bool](why)
	r.Seccomp.Requested = like[SeccompRequest](why)
	r.AppArmor.Requested = like[string](why)
	r.SELinux.Requested = like[string](why)
	r.ReadonlyRootfs.Requested = like[bool](why)
	r.Privileged.Requested = like[bool](why)
	r.UserNamespace.Requested = like[bool](why)
	r.Namespaces.Requested = like[NamespaceRequest](why)
	r.Cgroup.Requested = like[cgroup.Resources](why)
}

// like is an absent or unknown fact for the reason of another.
func like[T any](why Fact[struct{}]) Fact[T] {
	if why.Known() == Absent {
		return AbsentFact[T](why.Source())
	}
	return UnknownFact[T](why.Cause())
}

func (i *Inspector) declare(r *Report, f *listed, all Fact[caps.Set]) {
	s, err := f.declared()
	if err != nil {
		declarationUnknown(r, err)
		return
	}
	if !i.options.ShowSecrets {
		redactEnv(s.Process.Env)
		redactMounts(s.Mounts)
	}
	if i.options.RedactArgs {
		redactArgs(s.Process.Args)
	}
	declare(r, s)
	r.Privileged.Declared = privilegedDeclared(r, s, all)
}

func declarationUnknown(r *Report, err error) {
	r.Capabilities.Declared = UnknownFact[CapabilitySets](err)
	r.User.Declared = UnknownFact[User](err)
	r.NoNewPrivs.Declared = UnknownFact[bool](err)
	r.Seccomp.Declared = UnknownFact[SeccompDeclared](err)
	r.AppArmor.Declared = UnknownFact[string](err)
	r.SELinux.Declared = UnknownFact[string](err)
	r.ReadonlyRootfs.Declared = UnknownFact[bool](err)
	r.Privileged.Declared = UnknownFact[bool](err)
	r.UserNamespace.Declared = UnknownFact[bool](err)
	r.Namespaces.Declared = UnknownFact[[]NamespaceDeclared](err)
	r.Cgroup.Declared = UnknownFact[cgroup.Resources](err)
	r.Process = UnknownFact[Program](err)
}

// defaultOf is the set of capabilities that a runtime gives when nothing is
// asked for.
func defaultOf(c *runtimeapi.Conn) Fact[caps.Set] {
	if c == nil {
		return UnknownFact[caps.Set](ErrKernelOnly)
	}
	name := strings.ToLower(c.Name)
	for _, d := range caps.Defaults() {
		if strings.ToLower(d.Runtime) == name {
			return KnownFact(d.Set, "the default of "+d.Runtime+" since "+d.Since)
		}
	}
	return AbsentFact[caps.Set](fmt.Sprintf("no default is known of the runtime %q", c.Name))
}
