package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sample() Image {
	return Image{
		Name: "localhost/dpmip-agent:v1", Arch: "arm64", Release: "v1", Epoch: 1e9,
		Programs: map[string][]byte{"/usr/bin/dpmip-agent": []byte("agent"), "/usr/bin/dpmipctl": []byte("ctl")},
		Files:    map[string][]byte{"/etc/passwd": []byte("root:x:0:0::/:\n")}, Entrypoint: []string{"/usr/bin/dpmip-agent"},
	}
}

func written(t *testing.T, i Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := i.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// unpack reads a tar file.
func unpack(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if out[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

// TestChain follows the digests from the index to the programs, as an importer
// does.
func TestChain(t *testing.T) {
	all := unpack(t, written(t, sample()))
	blob := func(d descriptor) []byte {
		b := all["blobs/sha256/"+d.Digest[len("sha256:"):]]
		if digest(b) != d.Digest || len(b) != d.Size {
			t.Fatalf("blob %s: %d bytes", d.Digest, len(b))
		}
		return b
	}
	var (
		ix index
		m  manifest
		c  config
	)
	for _, step := range []struct {
		data func() []byte
		to   any
	}{
		{func() []byte { return all["index.json"] }, &ix},
		{func() []byte { return blob(ix.Manifests[0]) }, &m},
		{func() []byte { return blob(m.Config) }, &c},
	} {
		if err := json.Unmarshal(step.data(), step.to); err != nil {
			t.Fatal(err)
		}
	}
	z, err := gzip.NewReader(bytes.NewReader(blob(m.Layers[0])))
	if err != nil {
		t.Fatal(err)
	}
	layer, err := io.ReadAll(z)
	if err != nil || digest(layer) != c.RootFS.Diffs[0] {
		t.Errorf("layer: %v, %s", err, digest(layer))
	}
	got := unpack(t, layer)
	want := map[string][]byte{"etc/": {}, "etc/passwd": []byte("root:x:0:0::/:\n"), "usr/": {}, "usr/bin/": {}, "usr/bin/dpmip-agent": []byte("agent"), "usr/bin/dpmipctl": []byte("ctl")}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if c.Arch != "arm64" || c.Config.Entrypoint[0] != "/usr/bin/dpmip-agent" || string(all["oci-layout"]) != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("%+v", c)
	}
}

func TestSameBytes(t *testing.T) {
	if !bytes.Equal(written(t, sample()), written(t, sample())) {
		t.Error("two layouts of one image differ")
	}
}

func TestRefused(t *testing.T) {
	i := sample()
	i.Files["../etc/shadow"] = nil
	if _, err := i.WriteTo(io.Discard); err == nil {
		t.Error("a name that leads out was taken")
	}
}
