package inspect

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	experiment "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// SnapshotVersion is the version of the schema that [Snapshot] writes, and the
// only one that [ReadSnapshot] takes.
const SnapshotVersion = 1

// Snapshot is what was seen on a node at one time. It is plain data, with a JSON
// form that [ReadSnapshot] reads back; docs/snapshot.md describes it. What is
// asked of an [Inspector] can be asked of a Snapshot: the answer is that of its
// time.
type Snapshot struct {
	// Version is the version of the schema, SnapshotVersion.
	Version int `json:"version"`
	// Time is when the collecting began, in UTC.
	Time time.Time `json:"time"`
	// Node is the machine and its runtime.
	Node Node `json:"node"`
	// Containers are the reports of all containers, sandboxes and ended ones
	// included, in the order of Inspector.List.
	Containers []Report `json:"containers"`
	// Missing says why containers may be missing. Empty when none are.
	Missing []string `json:"missing"`
	// Sockets are the sockets of container runtimes, in the order of their
	// paths.
	Sockets []Socket `json:"sockets"`
	// MissingSockets says why sockets may be missing. Empty when none are.
	MissingSockets []string `json:"missingSockets"`
}

// maxSnapshot is the size up to which a snapshot is read, in bytes. That of a
// node with 1000 containers has a tenth of it.
const maxSnapshot = 1 << 30

// ReadSnapshot reads the JSON form of a snapshot up to the end of r. It refuses
// another version of the schema, anything after the snapshot, and what is no
// snapshot. Keys it does not know are passed over: a later release may add some
// within a version. A fact that is left out is unknown.
func ReadSnapshot(r io.Reader) (Snapshot, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxSnapshot+1))
	switch {
	case err != nil:
		return Snapshot{}, err
	case len(data) > maxSnapshot:
		return Snapshot{}, fmt.Errorf("not a snapshot: it has more than %d bytes", maxSnapshot)
	case len(bytes.TrimSpace(data)) == 0:
		return Snapshot{}, errors.New("not a snapshot: it is empty")
	}
	return parseSnapshot(data)
}

// parseSnapshot looks at the version first: all else may be of another form in
// another version.
func parseSnapshot(data []byte) (Snapshot, error) {
	var head struct {
		Version *int `json:"version"`
	}
	err := json.Unmarshal(data, &head)
	switch {
	case isTruncated(err):
		return Snapshot{}, errors.New("the snapshot is cut short")
	case errors.As(err, new(*json.UnmarshalTypeError)) && !bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")):
		return Snapshot{}, errors.New("not a snapshot: want a JSON object")
	case err != nil:
		return Snapshot{}, fmt.Errorf("not a snapshot: %w", err)
	case head.Version == nil:
		return Snapshot{}, errors.New("not a snapshot: it has no version")
	case *head.Version != SnapshotVersion:
		return Snapshot{}, fmt.Errorf("the snapshot's schema has version %d, this program reads version %d", *head.Version, SnapshotVersion)
	}
	var s Snapshot
	if err := unmarshal(data, &s); err != nil {
		return Snapshot{}, fmt.Errorf("not a snapshot: %w", err)
	}
	if err := s.check(); err != nil {
		return Snapshot{}, err
	}
	return s, nil
}

// isTruncated tells an end in the middle from a mistake in the middle.
func isTruncated(err error) bool {
	syntax, ok := errors.AsType[*json.SyntaxError](err)
	return ok && syntax.Error() == "unexpected end of JSON input"
}

// check refuses what would be taken for a node without containers.
func (s Snapshot) check() error {
	if s.Time.IsZero() || s.Containers == nil {
		return errors.New("not a snapshot: it has no time or no containers")
	}
	for n, r := range s.Containers {
		if r.ID == "" || r.Kind != KindContainer && r.Kind != KindSandbox {
			return fmt.Errorf("not a snapshot: container %d has the id %q and the kind %q", n, r.ID, r.Kind)
		}
	}
	return nil
}

// MarshalJSON writes the form that the type describes. A byte that is no text, as
// names in Linux may have, is written as U+FFFD: what is read and written again
// stays the same.
func (s Snapshot) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	err := s.Write(&b)
	return b.Bytes(), err
}

// Write writes the JSON form with a line for each container and each socket. It
// needs no memory for the whole, unlike MarshalJSON.
func (s Snapshot) Write(w io.Writer) error {
	o := &objectWriter{w: w}
	o.head(s)
	writeList(o, "containers", s.Containers)
	o.tail(s)
	return o.err
}

func (o *objectWriter) head(s Snapshot) {
	o.key("version", s.Version)
	o.key("time", s.Time)
	o.key("node", s.Node)
}

func (o *objectWriter) tail(s Snapshot) {
	o.key("missing", s.Missing)
	writeList(o, "sockets", s.Sockets)
	o.key("missingSockets", s.MissingSockets)
	o.text("}\n")
}

// objectWriter writes a JSON object in pieces. The error is that of the first
// that failed.
type objectWriter struct {
	w     io.Writer
	some  bool // a key was written
	items int  // written of the list that was begun
	// documents are reused from one piece to the next.
	documents []*bytes.Buffer
	err       error
}

func (o *objectWriter) text(text string) {
	if o.err == nil {
		_, o.err = io.WriteString(o.w, text)
	}
}

func (o *objectWriter) value(v any) {
	o.reserve(1)
	o.piece(o.documents[0], marshalInto(o.documents[0], v))
}

// reserve makes as many documents as will be made at a time.
func (o *objectWriter) reserve(n int) {
	for len(o.documents) < n {
		o.documents = append(o.documents, &bytes.Buffer{})
	}
}

func (o *objectWriter) piece(document *bytes.Buffer, err error) {
	o.err = cmp.Or(o.err, err)
	if o.err == nil {
		_, o.err = o.w.Write(replaceEscape(document.Bytes(), `\ufffd`, "\ufffd"))
	}
}

// streamed writes what [json.Marshal] does, and the facts straight into it: a Marshaler's bytes are parsed again by each that
// it is in.
var streamed = experiment.JoinOptions(jsonv1.DefaultOptionsV1(), experiment.WithMarshalers(
	experiment.MarshalToFunc(func(e *jsontext.Encoder, f interface{ stream(*jsontext.Encoder) error }) error {
		return f.stream(e)
	})))

// scannedForm reads what [json.Unmarshal] does, and the facts straight from it: what an Unmarshaler reads is parsed for each that
// it is in.
var scannedForm = experiment.JoinOptions(jsonv1.DefaultOptionsV1(), experiment.WithUnmarshalers(
	experiment.UnmarshalFromFunc(func(d *jsontext.Decoder, f interface{ scan(*jsontext.Decoder) error }) error {
		return f.scan(d)
	})))

// unmarshal reads a document.
func unmarshal(data []byte, v any) error { return experiment.Unmarshal(data, v, scannedForm) }

// marshalInto makes a document of v.
func marshalInto(document *bytes.Buffer, v any) error {
	document.Reset()
	return experiment.MarshalWrite(document, v, streamed)
}

func marshal(v any) ([]byte, error) {
	var document bytes.Buffer
	err := marshalInto(&document, v)
	return replaceEscape(document.Bytes(), `\ufffd`, "\ufffd"), err
}

func (o *objectWriter) name(name string) {
	if o.some {
		o.text(",\n")
	} else {
		o.text("{")
	}
	o.some = true
	o.text(strconv.Quote(name) + ":")
}

func (o *objectWriter) key(name string, v any) {
	o.name(name)
	o.value(v)
}

// writeList writes a list with its items on lines of their own.
func writeList[T any](o *objectWriter, name string, list []T) {
	if list == nil {
		o.name(name)
		o.text("null")
		return
	}
	o.begin(name)
	for some := range slices.Chunk(list, together) {
		writeItems(o, some)
	}
	o.end()
}

func (o *objectWriter) begin(name string) {
	o.name(name)
	o.text("[")
	o.items = 0
}

func (o *objectWriter) end() { o.text("]") }

// writeItems writes some items of a list. All processors make them.
func writeItems[T any](o *objectWriter, some []T) {
	o.reserve(len(some))
	errs := make([]error, len(some))
	parallel(len(some), func(n int) { errs[n] = marshalInto(o.documents[n], &some[n]) })
	for n := range some {
		if o.items > 0 {
			o.text(",")
		}
		o.items++
		o.text("\n")
		o.piece(o.documents[n], errs[n])
	}
}

// replaceEscape replaces an escape of JSON, but not after a backslash that is
// itself escaped.
func replaceEscape(data []byte, escape, with string) []byte {
	if !bytes.Contains(data, []byte(escape)) {
		return data
	}
	var out bytes.Buffer
	for {
		n := bytes.IndexByte(data, '\\')
		if n < 0 {
			break
		}
		out.Write(data[:n])
		data = data[n:]
		if rest, ok := bytes.CutPrefix(data, []byte(escape)); ok {
			out.WriteString(with)
			data = rest
			continue
		}
		out.Write(data[:2])
		data = data[2:]
	}
	out.Write(data)
	return out.Bytes()
}

// causes returns the texts of what errors.Join put together.
func causes(err error) []string {
	if err == nil {
		return []string{}
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []string{err.Error()}
	}
	list := []string{}
	for _, part := range joined.Unwrap() {
		list = append(list, causes(part)...)
	}
	if strings.Join(list, "\n") != err.Error() {
		return []string{err.Error()} // it wraps several errors in a sentence of its own
	}
	return list
}

// joined is the error that causes was made of.
func joined(causes []string) error {
	var errs []error
	for _, cause := range causes {
		errs = append(errs, errors.New(cause))
	}
	return errors.Join(errs...)
}

// List answers as [Inspector.List].
func (s Snapshot) List() ([]Container, error) {
	list := make([]Container, len(s.Containers))
	for n, r := range s.Containers {
		list[n] = r.Container
	}
	return list, joined(s.Missing)
}

// Details answers as [Inspector.Details].
func (s Snapshot) Details(refs ...string) ([]Report, error) {
	list, err := s.List()
	places, pickErr := pick(list, refs)
	reports := make([]Report, len(places))
	for n, place := range places {
		reports[n] = s.Containers[place]
	}
	return reports, errors.Join(err, pickErr)
}

// Reports answers as [Inspector.Containers].
func (s Snapshot) Reports(refs ...string) ([]Report, error) {
	reports, err := s.Details(refs...)
	for n := range reports {
		reports[n].Request, reports[n].Specification = Fact[Request]{}, Fact[Specification]{}
		reports[n].Mounts, reports[n].Processes = Fact[Mounts]{}, Fact[Processes]{}
	}
	return reports, err
}

// Processes answers as [Inspector.Processes].
func (s Snapshot) Processes(refs ...string) ([]ContainerProcesses, error) {
	reports, err := s.Details(refs...)
	list := make([]ContainerProcesses, len(reports))
	for n, r := range reports {
		list[n] = ContainerProcesses{Container: r.Container, Processes: r.Processes}
	}
	return list, err
}

// FindSockets answers as [Inspector.Sockets] does for these paths, or without any
// for all, of the sockets in the snapshot. The error wraps [fs.ErrNotExist] for a
// path that none of them has.
func (s Snapshot) FindSockets(paths ...string) ([]Socket, error) {
	if len(paths) == 0 {
		return s.Sockets, joined(s.MissingSockets)
	}
	errs := []error{joined(s.MissingSockets)}
	for _, path := range paths {
		if !slices.ContainsFunc(s.Sockets, func(k Socket) bool { return k.isAt(path) }) {
			errs = append(errs, fmt.Errorf("%s: not in the snapshot: %w", path, fs.ErrNotExist))
		}
	}
	var found []Socket
	for _, k := range s.Sockets {
		if slices.ContainsFunc(paths, k.isAt) {
			found = append(found, k)
		}
	}
	return found, errors.Join(errs...)
}

// isAt tells whether a path leads to the socket.
func (k Socket) isAt(path string) bool {
	file, _ := k.File.Value()
	return k.Path == path || slices.ContainsFunc(file.Paths, func(p SocketPath) bool {
		return p.Path == path || slices.Contains(p.Named, path)
	})
}

// RedactArgs hides in s what Options.RedactArgs hides while it is collected.
func (s *Snapshot) RedactArgs() {
	for _, r := range s.Containers {
		program, _ := r.Process.Value()
		redactArgs(program.Args)
		command, _ := r.Command.Value()
		redactArgs(command)
		processes, _ := r.Processes.Value()
		for _, p := range processes.List {
			args, _ := p.Args.Value()
			redactArgs(args)
		}
	}
}
