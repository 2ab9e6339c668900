package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"time"
)

// Media types of the OCI image specification 1.1.
const (
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
	typeIndex    = "application/vnd.oci.image.index.v1+json"
)

// Image is what to write.
type Image struct {
	Name       string // "dpmip-agent:v1", as it is imported
	Arch       string // as GOARCH
	Release    string
	Epoch      int64             // time of all files, seconds since 1970
	Programs   map[string][]byte // by absolute path, mode 0755
	Files      map[string][]byte // by absolute path, mode 0644
	Entrypoint []string
	Command    []string
}

// descriptor points at a blob.
type descriptor struct {
	Type        string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Arch string `json:"architecture"`
	OS   string `json:"os"`
}

type manifest struct {
	Schema int          `json:"schemaVersion"`
	Type   string       `json:"mediaType"`
	Config descriptor   `json:"config"`
	Layers []descriptor `json:"layers"`
}

type index struct {
	Schema    int          `json:"schemaVersion"`
	Type      string       `json:"mediaType"`
	Manifests []descriptor `json:"manifests"`
}

type config struct {
	Created string    `json:"created"`
	Arch    string    `json:"architecture"`
	OS      string    `json:"os"`
	Config  execution `json:"config"`
	RootFS  rootFS    `json:"rootfs"`
	History []history `json:"history"`
}

type execution struct {
	Entrypoint []string          `json:"Entrypoint"`
	Cmd        []string          `json:"Cmd,omitempty"`
	Labels     map[string]string `json:"Labels"`
}

type rootFS struct {
	Type  string   `json:"type"`
	Diffs []string `json:"diff_ids"`
}

type history struct {
	Created string `json:"created"`
	By      string `json:"created_by"`
}

// WriteTo writes the layout.
func (i Image) WriteTo(w io.Writer) (int64, error) {
	out := &layout{tar: tar.NewWriter(w), time: time.Unix(i.Epoch, 0).UTC()}
	layer, err := i.layer()
	if err != nil {
		return 0, err
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return 0, fmt.Errorf("oci: %w", err)
	}
	if _, err := z.Write(layer); err != nil {
		return 0, fmt.Errorf("oci: %w", err)
	}
	if err := z.Close(); err != nil {
		return 0, fmt.Errorf("oci: %w", err)
	}
	created := out.time.Format(time.RFC3339)
	conf := out.json(typeConfig, config{
		Created: created, Arch: i.Arch, OS: "linux",
		Config: execution{Entrypoint: i.Entrypoint, Cmd: i.Command, Labels: map[string]string{"org.opencontainers.image.version": i.Release}},
		RootFS: rootFS{Type: "layers", Diffs: []string{digest(layer)}}, History: []history{{created, "cross/oci"}},
	})
	m := out.json(typeManifest, manifest{Schema: 2, Type: typeManifest, Config: conf, Layers: []descriptor{out.blob(typeLayer, packed.Bytes())}})
	m.Platform = &platform{i.Arch, "linux"}
	m.Annotations = map[string]string{"io.containerd.image.name": i.Name, "org.opencontainers.image.ref.name": i.Name}
	out.plain("index.json", index{Schema: 2, Type: typeIndex, Manifests: []descriptor{m}})
	out.plain("oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"})
	if err := out.tar.Close(); out.err == nil && err != nil {
		out.err = fmt.Errorf("oci: %w", err)
	}
	return out.n, out.err
}

// layer is the root file system, as tar.
func (i Image) layer() ([]byte, error) {
	var b bytes.Buffer
	t := &layout{tar: tar.NewWriter(&b), time: time.Unix(i.Epoch, 0).UTC()}
	modes := map[string]int64{}
	all := map[string][]byte{}
	for name, data := range i.Programs {
		all[name], modes[name] = data, 0o755
	}
	for name, data := range i.Files {
		all[name], modes[name] = data, 0o644
	}
	made := map[string]bool{"/": true}
	for _, name := range keys(all) {
		if !path.IsAbs(name) || path.Clean(name) != name {
			return nil, fmt.Errorf("oci: %q is no clean absolute path", name)
		}
		for _, dir := range parents(name) {
			if !made[dir] {
				made[dir] = true
				t.entry(&tar.Header{Typeflag: tar.TypeDir, Name: dir[1:] + "/", Mode: 0o755}, nil)
			}
		}
		t.entry(&tar.Header{Typeflag: tar.TypeReg, Name: name[1:], Mode: modes[name]}, all[name])
	}
	if err := t.tar.Close(); t.err == nil && err != nil {
		t.err = fmt.Errorf("oci: %w", err)
	}
	return b.Bytes(), t.err
}

// parents lists the folders above a name, the outermost first.
func parents(name string) []string {
	var out []string
	for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
		out = append([]string{dir}, out...)
	}
	return out
}

func keys(m map[string][]byte) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// layout writes tar entries; the first error stays.
type layout struct {
	tar  *tar.Writer
	time time.Time
	n    int64
	err  error
}

func (l *layout) entry(h *tar.Header, data []byte) {
	if l.err != nil {
		return
	}
	h.Size, h.ModTime, h.Format = int64(len(data)), l.time, tar.FormatUSTAR
	err := l.tar.WriteHeader(h)
	if err == nil {
		_, err = l.tar.Write(data)
	}
	if err != nil {
		l.err = fmt.Errorf("oci: %s: %w", h.Name, err)
	}
	l.n += h.Size
}

// blob adds content by its digest.
func (l *layout) blob(kind string, data []byte) descriptor {
	d := digest(data)
	l.entry(&tar.Header{Typeflag: tar.TypeReg, Name: "blobs/sha256/" + d[len("sha256:"):], Mode: 0o644}, data)
	return descriptor{Type: kind, Digest: d, Size: len(data)}
}

func (l *layout) json(kind string, v any) descriptor { return l.blob(kind, l.marshal(v)) }

func (l *layout) plain(name string, v any) {
	l.entry(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, l.marshal(v))
}

func (l *layout) marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil && l.err == nil {
		l.err = fmt.Errorf("oci: %w", err)
	}
	return b
}
