package capture

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/netns"
)

// DefaultSnap is how much of a frame is kept: all headers and some payload.
// Mobility Headers are always kept whole.
const DefaultSnap = 160

// ErrDropped says that the ring was full at times.
var ErrDropped = errors.New("capture: frames were dropped")

// Options of one capture.
type Options struct {
	Dir  string // where the file <node>-<link>.pcap goes
	Snap uint32 // bytes kept of a frame; 0 = DefaultSnap
}

// Capture records one link into a pcap file with nanosecond stamps.
type Capture struct {
	Node, Link string
	Path       string

	ring    *ring
	file    *os.File
	out     *bufio.Writer
	pcap    *pcapgo.Writer
	stop    chan struct{}
	done    chan struct{}
	offset  time.Duration // wall clock - clock.Now()
	frames  uint64
	err     error
	stopped bool
}

// Start begins recording; frames that pass after its return are recorded. Stop
// it before its namespace ends.
func Start(ns *netns.NS, link string, o Options) (*Capture, error) {
	if o.Snap == 0 {
		o.Snap = DefaultSnap
	}
	c := &Capture{
		Node: ns.Name(), Link: link, Path: filepath.Join(o.Dir, ns.Name()+"-"+link+".pcap"),
		stop: make(chan struct{}), done: make(chan struct{}),
		offset: time.Duration(time.Now().UnixNano()) - clock.Now(),
	}
	var err error
	if c.file, err = os.Create(c.Path); err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	c.out = bufio.NewWriterSize(c.file, 1<<18)
	c.pcap = pcapgo.NewWriterNanos(c.out)
	if err := c.pcap.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		return nil, errors.Join(fmt.Errorf("capture: %s: %w", c.Path, err), c.file.Close())
	}
	if c.ring, err = openRing(ns, link, o.Snap); err != nil {
		return nil, errors.Join(err, c.file.Close())
	}
	go c.run()
	return c, nil
}

// run moves frames from the ring to the file.
func (c *Capture) run() {
	defer close(c.done)
	const tick = time.Second
	for c.err == nil {
		_, c.err = c.ring.each(tick, c.write)
		select {
		case <-c.stop:
			// What the kernel still fills is handed over within retire; traffic
			// may go on, so that there would always be more.
			for more, n := true, 0; more && n < 3 && c.err == nil; n++ {
				clock.SleepUntil(clock.Now() + 2*retire)
				more, c.err = c.ring.each(0, c.write)
			}
			return
		default:
		}
	}
}

func (c *Capture) write(at time.Time, data []byte, length int) error {
	c.frames++
	return c.pcap.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(data), Length: length}, data)
}

// Stop ends recording and says how many frames there are. ErrDropped means
// that they are not all.
func (c *Capture) Stop() (uint64, error) {
	if c.stopped {
		return c.frames, nil
	}
	c.stopped = true
	close(c.stop)
	err := c.ring.interrupt()
	<-c.done
	n, serr := c.ring.dropped()
	if n > 0 {
		serr = fmt.Errorf("%w: %d on %s:%s", ErrDropped, n, c.Node, c.Link)
	}
	c.ring.close()
	return c.frames, errors.Join(err, c.err, serr, c.out.Flush(), c.file.Close())
}

// Each hands every recorded frame, oldest first, to f; its Data is valid during
// the call only. Only after Stop.
func (c *Capture) Each(f func(Frame) error) error {
	in, err := os.Open(c.Path)
	if err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	defer in.Close()
	r, err := pcapgo.NewReader(bufio.NewReaderSize(in, 1<<18))
	if err != nil {
		return fmt.Errorf("capture: %s: %w", c.Path, err)
	}
	for {
		data, info, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("capture: %s: %w", c.Path, err)
		}
		fr := Parse(data)
		fr.Node, fr.Link, fr.Length = c.Node, c.Link, info.Length
		fr.At = time.Duration(info.Timestamp.UnixNano()) - c.offset
		if err := f(fr); err != nil {
			return err
		}
	}
}
