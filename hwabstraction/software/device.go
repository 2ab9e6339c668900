package software

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf/ringbuf"
	nl "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
)

// Device is the software backend. It implements hwabstraction.Device.
type Device struct {
	cfg     Config
	log     *slog.Logger
	ns      *namespace
	tables  *tables
	nl      *netlink.Handle
	ask     *nl.Conn // for single filters
	rt      *rtConn
	openRT  *rtConn // the opener's: it waits for no batch
	packets int     // AF_PACKET socket
	opener  *runner // opens holds
	fencer  *runner
	fenceFD int // the fencer's; -1 = not yet
	groups6 int // UDP socket that joins multicast groups
	nft     *firewall
	ring    *ringbuf.Reader
	monitor *os.File // netlink socket of the follower
	trapped chan hwabstraction.Trapped

	mended *tally
	heard  atomic.Uint32 // by the monitor, since it was last looked at

	// apply serialises Apply, the route follower and whatever else writes
	// rules; it guards the fields below it.
	apply    sync.Mutex
	fabric   []*netlink.LinkAttrs // ports towards it, as they were last found; Index 0 = gone
	slots    allocator
	insts    allocator
	counters allocator
	virgin   uint32                                          // counters from here on were never taken by an earlier process
	limits   map[hwabstraction.Stamp]hwabstraction.HoldLimit // of groups to come
	kernel   map[hwabstraction.RuleID]*kernelRoute
	restores map[netip.Addr][]uint32 // deliver slots by the address they restore
	sources  map[hwabstraction.RuleID]uint32
	opened   map[uint32]int  // egresses by ifindex
	idle     map[uint32]bool // ports that were opened, and are nobody's now
	zoneRefs map[netip.Addr]int
	journal  Journal
	mtus     map[int]uint32 // mark of each MTU
	tcx      bool
	serial   uint32

	// mu guards index and closed; it may be taken under apply.
	mu     sync.RWMutex
	index  map[hwabstraction.Stamp]*group
	closed bool

	// drainMu guards draining: the releases that run, by group.
	drainMu  sync.Mutex
	draining map[uint32]chan struct{}

	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	stopped sync.Once
}

var (
	_ hwabstraction.Device = (*Device)(nil)
	_ hwabstraction.Fencer = (*Device)(nil)
	_ hwabstraction.Mender = (*Device)(nil)
)

// Open loads the programs, adopts what an earlier process left below
// cfg.BPFDir, and puts the programs on the fabric ports. It touches no
// forwarding that is there. It needs CAP_SYS_ADMIN and CAP_NET_ADMIN and
// takes some tens of milliseconds.
func Open(cfg Config) (*Device, error) {
	cfg, err := cfg.defaults()
	if err != nil {
		return nil, err
	}
	ns, err := enter(cfg.NetNS)
	if err != nil {
		return nil, err
	}
	d := &Device{
		cfg: cfg, log: cfg.Log, ns: ns, packets: -1, groups6: -1, fenceFD: -1,
		mended:   newTally(),
		trapped:  make(chan hwabstraction.Trapped, 256),
		kernel:   map[hwabstraction.RuleID]*kernelRoute{},
		restores: map[netip.Addr][]uint32{},
		sources:  map[hwabstraction.RuleID]uint32{},
		limits:   map[hwabstraction.Stamp]hwabstraction.HoldLimit{},
		opened:   map[uint32]int{},
		idle:     map[uint32]bool{},
		zoneRefs: map[netip.Addr]int{},
		mtus:     map[int]uint32{},
		index:    map[hwabstraction.Stamp]*group{},
		draining: map[uint32]chan struct{}{},
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	if err := d.open(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// open runs the steps whose order matters: sockets, maps, adoption, and only
// then programs on ports.
func (d *Device) open() error {
	for _, step := range []func() error{
		d.startRunners, d.dial, d.findFabric, d.load, d.openPlumbing, d.adopt, d.openFirewall, d.attachAll, d.startTasks,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (d *Device) startRunners() (err error) {
	if d.opener, err = startRunner(d.ns); err == nil {
		d.fencer, err = startRunner(d.ns)
	}
	if err != nil {
		return fmt.Errorf("software: thread: %w", err)
	}
	return nil
}

func (d *Device) load() (err error) {
	flags, err := d.fibFlags()
	if err != nil {
		return err
	}
	d.tables, err = loadTables(d.cfg, flags)
	return err
}

// dial opens every socket inside the namespace; they stay in it.
func (d *Device) dial() (err error) {
	if d.nl, err = netlink.NewHandleAt(netns.NsHandle(d.ns.fd()), unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("software: netlink: %w", err)
	}
	if d.ask, err = nl.Dial(unix.NETLINK_ROUTE, &nl.Config{NetNS: d.ns.fd()}); err != nil {
		return fmt.Errorf("software: netlink: %w", err)
	}
	if d.rt, err = openIn(d.ns, dialRoute); err != nil {
		return err
	}
	if d.openRT, err = openIn(d.ns, dialRoute); err != nil {
		return err
	}
	d.packets, err = openIn(d.ns, func() (int, error) {
		return unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	})
	if err != nil {
		return fmt.Errorf("software: packet socket: %w", err)
	}
	d.groups6, err = openIn(d.ns, func() (int, error) {
		return unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	})
	if err != nil {
		return fmt.Errorf("software: multicast socket: %w", err)
	}
	return nil
}

// findFabric looks up the ports towards the fabric.
func (d *Device) findFabric() error {
	for _, name := range d.cfg.Fabric {
		ifindex, err := d.portIndex(name)
		if err != nil {
			return fmt.Errorf("software: fabric port: %w", err)
		}
		l, err := d.nl.LinkByIndex(int(ifindex))
		if err != nil {
			return fmt.Errorf("%w: fabric port %s: %w", hwabstraction.ErrPortGone, name, err)
		}
		d.fabric = append(d.fabric, l.Attrs())
	}
	return nil
}

// openPlumbing makes what all rules share: sysctls, loop port, policy rules,
// netfilter table.
func (d *Device) openPlumbing() error {
	if err := d.ns.do(d.prepareStack); err != nil {
		return err
	}
	return d.openLoop()
}

func (d *Device) startTasks() error {
	ring, err := ringbuf.NewReader(d.tables.Trapped)
	if err != nil {
		return fmt.Errorf("software: trap ring: %w", err)
	}
	d.ring = ring
	d.tasks.Add(1)
	go d.readTraps()
	if err := d.startFollower(); err != nil {
		return err
	}
	d.resumeReleases()
	return nil
}

// Halt ends what the device does by itself and nothing else, as the death of the
// process would. Only Close may be called afterwards.
func (d *Device) Halt() {
	if err := d.stop(); err != nil {
		d.log.Warn("halted", "err", err)
	}
}

// stop ends the tasks, once.
func (d *Device) stop() error {
	var errs []error
	d.stopped.Do(func() {
		d.cancel()
		if d.ring != nil {
			errs = append(errs, d.ring.Close())
		}
		if d.monitor != nil {
			errs = append(errs, d.monitor.Close())
		}
		d.tasks.Wait()
	})
	return errors.Join(errs...)
}

// Close implements hwabstraction.Device. Every rule keeps acting.
func (d *Device) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	d.mu.Unlock()
	errs := []error{d.stop()}
	for _, r := range []*runner{d.opener, d.fencer} {
		if r != nil {
			errs = append(errs, r.close())
		}
	}
	close(d.trapped)
	d.apply.Lock()
	defer d.apply.Unlock()
	if d.tables != nil {
		errs = append(errs, d.tables.close())
	}
	if d.nft != nil {
		errs = append(errs, d.nft.close())
	}
	if d.nl != nil {
		d.nl.Close()
	}
	if d.ask != nil {
		errs = append(errs, d.ask.Close())
	}
	for _, c := range []*rtConn{d.rt, d.openRT} {
		if c != nil {
			c.close()
		}
	}
	for _, fd := range []int{d.packets, d.groups6, d.fenceFD} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	d.ns.close()
	return errors.Join(errs...)
}

// Trapped implements hwabstraction.Device. The channel is closed by Close.
func (d *Device) Trapped() <-chan hwabstraction.Trapped { return d.trapped }

// Transmit implements hwabstraction.Device.
func (d *Device) Transmit(port string, frame []byte) error {
	if len(frame) < 14 {
		return fmt.Errorf("software: transmit on %s: frame of %d bytes", port, len(frame))
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return hwabstraction.ErrClosed
	}
	ifindex, err := d.portIndex(port)
	if err != nil {
		return err
	}
	return d.send(ifindex, frame)
}

func (d *Device) send(ifindex uint32, frame []byte) error {
	to := &unix.SockaddrLinklayer{Ifindex: int(ifindex), Halen: 6}
	copy(to.Addr[:], frame)
	if err := unix.Sendto(d.packets, frame, 0, to); err != nil {
		return fmt.Errorf("software: transmit on port %d: %w", ifindex, err)
	}
	return nil
}

// portIndex resolves a port's name.
func (d *Device) portIndex(port string) (uint32, error) {
	if d.cfg.Resolve != nil {
		i, err := d.cfg.Resolve(port)
		return uint32(i), err
	}
	return d.interfaceIndex(port)
}

// interfaceIndex resolves the name of an interface.
func (d *Device) interfaceIndex(name string) (uint32, error) {
	l, err := d.nl.LinkByName(name)
	if err != nil {
		return 0, fmt.Errorf("%w: %s: %w", hwabstraction.ErrPortGone, name, err)
	}
	return uint32(l.Attrs().Index), nil
}
