package software

import (
	"testing"
	"time"
)

// TestMalformed: what a VM sends and nobody can parse is dropped and counted as
// that, not as a foreign source.
func TestMalformed(t *testing.T) {
	l := newLab(t, AttachAuto)
	for _, f := range fams {
		l.serve(0, f, 1)
	}
	header6 := func(next byte, payload ...byte) []byte {
		b := append([]byte{0x60, 0, 0, 0, 0, byte(len(payload)), next, 64}, fams[0].old.AsSlice()...)
		return append(append(b, fams[0].peer.AsSlice()...), payload...)
	}
	frames := []struct {
		name string
		kind byte
		ip   []byte
	}{
		{"IPv4 cut in its header", 0x00, []byte{0x45, 0, 0, 40, 0, 0, 0, 0, 64, 17}},
		{"IPv4 with a header of 12 bytes", 0x00, append([]byte{0x43}, make([]byte, 39)...)},
		{"IPv4 that says it is IPv6", 0x00, append([]byte{0x65}, make([]byte, 39)...)},
		{"IPv6 cut in its header", 0xdd, header6(17)[:20]},
		{"IPv6 cut in its extension headers", 0xdd, header6(0, 60, 0, 0, 0)},
	}
	before, err := l.dev[0].Drops(t.Context())
	l.must(err)
	for i, x := range frames {
		frame := append(append([]byte{2, 0, 0, 0, 0, 1}, vmMAC[:]...), 0x08, 0)
		if x.kind != 0 {
			frame[12], frame[13] = 0x86, x.kind
		}
		newBlaster(l.vm[0], "eth0", append(frame, x.ip...)).send(t, 1)
		want := before["malformed"] + uint64(i) + 1
		for end := time.Now().Add(5 * time.Second); ; {
			now, err := l.dev[0].Drops(t.Context())
			l.must(err)
			if now["source_guard"] != before["source_guard"] {
				t.Fatalf("%s: counted as a foreign source", x.name)
			}
			if now["malformed"] == want {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s: malformed is %d, want %d", x.name, now["malformed"], want)
			}
		}
	}
}
