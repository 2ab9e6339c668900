package haltest

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tap is a packet socket on one interface, and what it has seen come in.
type tap struct {
	file *os.File
	keep bool // keep frames; else markers only

	mu     sync.Mutex // guards the rest
	frames [][]byte
	mark   uint64
	change chan struct{} // closed and replaced at every change
}

func newTap(t testing.TB, s *space, link string, marksOnly bool) *tap {
	t.Helper()
	p := &tap{keep: !marksOnly, change: make(chan struct{})}
	if err := s.do(func() error { return p.open(link) }); err != nil {
		t.Fatalf("packet socket on %s: %v", link, err)
	}
	done := make(chan struct{})
	go func() { defer close(done); p.read() }()
	t.Cleanup(func() { p.file.Close(); <-done })
	return p
}

// Socket options that golang.org/x/sys/unix does not name.
const (
	packetQdiscBypass    = 20 // straight to the driver, past tc egress
	packetIgnoreOutgoing = 23
)

func (p *tap) open(link string) error {
	ifc, err := net.InterfaceByName(link)
	if err != nil {
		return err
	}
	all := uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	for _, o := range []struct{ level, name, value int }{
		{unix.SOL_PACKET, packetIgnoreOutgoing, 1},
		{unix.SOL_PACKET, packetQdiscBypass, 1},
		{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16 << 20},
		{unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 64 << 20}, // held frames stay charged to the sender
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			unix.Close(fd)
			return err
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifc.Index}); err != nil {
		unix.Close(fd)
		return err
	}
	p.file = os.NewFile(uintptr(fd), "packet:"+link)
	return nil
}

func (p *tap) read() {
	buf := make([]byte, 65536)
	for {
		n, err := p.file.Read(buf)
		switch {
		case err == nil:
			p.put(buf[:n])
		case !errors.Is(err, unix.ENETDOWN): // which is told once, and is over when the link is up
			return
		}
	}
}

// put keeps one frame, or notes a marker.
func (p *tap) put(frame []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case len(frame) >= 22 && binary.BigEndian.Uint16(frame[12:]) == markType:
		p.mark = max(p.mark, binary.BigEndian.Uint64(frame[14:]))
	case p.keep:
		p.frames = append(p.frames, append([]byte(nil), frame...))
	default:
		return
	}
	close(p.change)
	p.change = make(chan struct{})
}

func (p *tap) take() [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.frames
	p.frames = nil
	return f
}

// await blocks until ok holds, which is called with p.mu held, or d is over.
func (p *tap) await(d time.Duration, ok func() bool) bool {
	over := time.NewTimer(d)
	defer over.Stop()
	for {
		p.mu.Lock()
		done, change := ok(), p.change
		p.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-change:
		case <-over.C:
			return false
		}
	}
}

func (p *tap) wait(d time.Duration, ok func([][]byte) bool) bool {
	return p.await(d, func() bool { return ok(p.frames) })
}

func (p *tap) marked(n uint64, d time.Duration) bool {
	return p.await(d, func() bool { return p.mark >= n })
}
