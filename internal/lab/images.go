package lab

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
)

// imageRecipe changes when the images' content does for another reason than
// their programs, so that images made before are made anew.
const imageRecipe = "1"

// Media types of an OCI image layout.
const (
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar"
)

// descriptor names a blob of an image layout.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// layout is an OCI image layout in a tar: it needs no registry and no tool.
type layout struct {
	tar   *tar.Writer
	blobs map[string]bool
	index []descriptor
}

// writeImages writes the pause image and the busybox image, the latter under
// every name it stands for, to one file.
func writeImages(path string, pause, busybox []byte, applets []string) error {
	pauseLayer, err := layer(entry{name: "pause", mode: 0o755, data: pause})
	if err != nil {
		return err
	}
	busyboxLayer, err := layer(busyboxFiles(busybox, applets)...)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	l := layout{tar: tar.NewWriter(&out), blobs: map[string]bool{}}
	if err := l.image(pauseLayer, []string{"/pause"}, pauseImage); err != nil {
		return err
	}
	if err := l.image(busyboxLayer, nil, imageNames...); err != nil {
		return err
	}
	if err := l.close(); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", out.Bytes(), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// image adds an image of one layer under some names.
func (l *layout) image(layer []byte, entrypoint []string, names ...string) error {
	files, err := l.blob(typeLayer, layer)
	if err != nil {
		return err
	}
	config, err := l.json(typeConfig, map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config": map[string]any{
			"Env":        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			"Entrypoint": entrypoint,
			"Cmd":        command(entrypoint),
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{files.Digest}},
	})
	if err != nil {
		return err
	}
	manifest, err := l.json(typeManifest, map[string]any{
		"schemaVersion": 2, "mediaType": typeManifest, "config": config, "layers": []descriptor{files},
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		manifest.Annotations = map[string]string{"io.containerd.image.name": name}
		l.index = append(l.index, manifest)
	}
	return nil
}

// command is what an image without an entrypoint runs.
func command(entrypoint []string) []string {
	if entrypoint != nil {
		return nil
	}
	return []string{"sh"}
}

func (l *layout) json(mediaType string, v any) (descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	return l.blob(mediaType, data)
}

func (l *layout) blob(mediaType string, data []byte) (descriptor, error) {
	sum := fmt.Sprintf("%x", sha256.Sum256(data))
	d := descriptor{MediaType: mediaType, Digest: "sha256:" + sum, Size: len(data)}
	if l.blobs[sum] {
		return d, nil
	}
	l.blobs[sum] = true
	return d, entry{name: "blobs/sha256/" + sum, mode: 0o644, data: data}.write(l.tar)
}

func (l *layout) close() error {
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": l.index})
	if err != nil {
		return err
	}
	for _, e := range []entry{
		{name: "index.json", mode: 0o644, data: index},
		{name: "oci-layout", mode: 0o644, data: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
	} {
		if err := e.write(l.tar); err != nil {
			return err
		}
	}
	return l.tar.Close()
}

// entry is a file of a tar: a folder when its name ends in a slash, a link
// when it has a target.
type entry struct {
	name, link string
	mode       int64
	data       []byte
}

func (e entry) write(w *tar.Writer) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Linkname: e.link, Mode: e.mode, Size: int64(len(e.data))}
	switch {
	case e.link != "":
		h.Typeflag = tar.TypeSymlink
	case e.name[len(e.name)-1] == '/':
		h.Typeflag = tar.TypeDir
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(e.data)
	return err
}

func layer(entries ...entry) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		if err := e.write(w); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

// busyboxFiles is a small root file system around busybox.
func busyboxFiles(busybox []byte, applets []string) []entry {
	files := []entry{
		{name: "bin/", mode: 0o755},
		{name: "etc/", mode: 0o755},
		{name: "home/", mode: 0o755},
		{name: "root/", mode: 0o700},
		{name: "tmp/", mode: 0o1777},
		{name: "usr/", mode: 0o755},
		{name: "var/", mode: 0o755},
		{name: "etc/passwd", mode: 0o644, data: []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n")},
		{name: "etc/group", mode: 0o644, data: []byte("root:x:0:\nnobody:x:65534:\n")},
		{name: "bin/busybox", mode: 0o755, data: busybox},
	}
	for _, name := range applets {
		if name != "busybox" {
			files = append(files, entry{name: "bin/" + name, link: "busybox", mode: 0o777})
		}
	}
	return files
}
