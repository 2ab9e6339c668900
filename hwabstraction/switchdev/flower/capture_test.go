package flower

import (
	"bytes"
	"embed"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var (
	withTC = flag.Bool("tc", false, "fail, instead of skipping, where tc or strace is missing")
	update = flag.Bool("update", false, "write testdata/*.hex anew, from what tc sends here")
)

// captured are messages of tc, by name, and the commands that they come of. They
// travel with the test binary.
//
//go:embed testdata/*.hex testdata/filters.txt
var captured embed.FS

// TestTCSendsTheSame captures anew what iproute2's tc sends for each line of
// filters.txt, in a network namespace of its own: it is what testdata has, to
// which the encoder is held. The kernel may refuse a filter: what was sent counts.
// Last written by iproute2 6.1.0.
func TestTCSendsTheSame(t *testing.T) {
	for _, program := range []string{"tc", "strace"} {
		if _, err := exec.LookPath(program); err != nil && !*withTC {
			t.Skipf("no %s here; make test and make testbed-arm64 have it", program)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	inNamespace(t)
	version, err := exec.Command("tc", "-V").Output()
	if err != nil {
		t.Fatal(err)
	}
	list, err := captured.ReadFile("testdata/filters.txt")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for line := range strings.Lines(string(list)) {
		name, args, ok := strings.Cut(line, ":")
		if strings.HasPrefix(line, "#") || !ok {
			continue
		}
		names = append(names, name)
		got := sent(t, name, strings.Fields(args))
		if *update {
			if err := os.WriteFile("testdata/"+name+".hex", []byte(lines(got)), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if diff := cmp.Diff(hex.Dump(golden(t, name)), hex.Dump(got)); diff != "" {
			t.Errorf("%s: %s sends something else than was captured; if it is another version, take it again with -update (-captured +now):\n%s",
				name, strings.TrimSpace(string(version)), diff)
		}
	}
	for name := range filters() {
		if !slices.Contains(names, name) {
			t.Errorf("filters.txt has no line for %s", name)
		}
	}
}

// inNamespace takes the test's thread into a new network namespace, with the ports
// va and vb. The thread ends with the test.
func inNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	for name, index := range map[string]int{"va": va, "vb": vb} {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.Index = name, index
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: name + "0"}); err != nil {
			t.Fatal(err)
		}
	}
}

// sent is the message about a filter that tc sends: RTM_NEWTFILTER, or
// RTM_DELTFILTER for the line "delete". Its sequence number is zero.
func sent(t *testing.T, name string, args []string) []byte {
	t.Helper()
	verb, kind := "add", byte(unix.RTM_NEWTFILTER)
	if name == "delete" {
		verb, kind = "delete", unix.RTM_DELTFILTER
	}
	cmd := exec.Command("strace", append([]string{"-qq", "-e", "trace=sendmsg", "-e", "write=all", "tc", "filter", verb, "dev", "va", "ingress"}, args...)...)
	var trace bytes.Buffer
	cmd.Stderr = &trace
	cmd.Run() // with tc's exit status: the kernel may have refused
	for _, m := range buffers(t, trace.String()) {
		if len(m) > unix.NLMSG_HDRLEN && m[4] == kind && m[5] == 0 {
			clear(m[8:12])
			return m
		}
	}
	t.Fatalf("%s: tc sent no such message:\n%s", name, &trace)
	return nil
}

// buffers are the buffers that strace shows, "| offset  16 bytes  text |" a line.
func buffers(t *testing.T, trace string) (out [][]byte) {
	t.Helper()
	const from, to = 10, 59
	for line := range strings.Lines(trace) {
		if !strings.HasPrefix(line, " | ") || len(line) < to {
			continue
		}
		b, err := hex.DecodeString(strings.Join(strings.Fields(line[from:to]), ""))
		if err != nil {
			t.Fatalf("strace shows %q: %v", line, err)
		}
		if strings.HasPrefix(line, " | 00000 ") {
			out = append(out, nil)
		}
		if n := len(out); n > 0 {
			out[n-1] = append(out[n-1], b...)
		}
	}
	return out
}

// lines writes 16 bytes a line.
func lines(b []byte) string {
	var s strings.Builder
	for part := range slices.Chunk(b, 16) {
		fmt.Fprintf(&s, "% x\n", part)
	}
	return s.String()
}
