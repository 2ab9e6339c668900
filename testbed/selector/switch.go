package selector

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/testbed/netns"
	"github.com/dpmip/dpmip/testbed/park"
)

// Freezer stops and starts the processes inside a VM (guest.Gate).
type Freezer interface {
	Freeze()
	Thaw()
}

// Switch connects VMs to hypervisor ports. It is safe for concurrent use. Its
// links and programs go with its namespace; Close gives up the rest.
type Switch struct {
	ns   *netns.NS
	objs selectorObjects

	mu  sync.Mutex // guards vms and what is in them
	vms map[string]*vm
}

type vm struct {
	number  uint32
	index   int            // the VM's link
	ports   map[string]int // by hypervisor: the port's link
	at      string         // hypervisor it is connected to; "" = nowhere
	place   selectorPlace
	park    *park.Park
	freezer Freezer
}

// New makes a switch in a namespace of its own.
func New(ns *netns.NS) (*Switch, error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("selector: memlock: %w", err)
	}
	s := &Switch{ns: ns, vms: map[string]*vm{}}
	if err := loadSelectorObjects(&s.objs, nil); err != nil {
		return nil, fmt.Errorf("selector: load: %w", err)
	}
	if err := ns.Sysctls("net.ipv6.conf.default.disable_ipv6=1", "net.ipv6.conf.all.disable_ipv6=1"); err != nil {
		return nil, errors.Join(err, s.objs.Close())
	}
	return s, nil
}

// AddVM makes the VM's only link, from guest to the switch. The VM starts
// connected to nothing, and paused. The freezer may be nil.
func (s *Switch) AddVM(name string, guest netns.End, f Freezer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.vms[name] != nil {
		return fmt.Errorf("selector: VM %s is there already", name)
	}
	v := &vm{number: uint32(len(s.vms)), ports: map[string]int{}, freezer: f}
	q, r := "q-"+name, "r-"+name
	if err := netns.Veth(guest, netns.End{NS: s.ns, Name: name}, 0); err != nil {
		return err
	}
	if err := netns.Veth(netns.End{NS: s.ns, Name: q}, netns.End{NS: s.ns, Name: r}, 0); err != nil {
		return err
	}
	qi, err := s.ns.Index(q)
	if err != nil {
		return err
	}
	if v.index, err = s.attach(name, s.objs.VmIn, selectorLink{Vm: v.number, To: uint32(qi)}); err != nil {
		return err
	}
	if _, err = s.attach(r, s.objs.ParkOut, selectorLink{Vm: v.number}); err != nil {
		return err
	}
	if v.park, err = park.New(s.ns, q); err != nil {
		return err
	}
	s.vms[name] = v
	return s.disconnect(v)
}

// AddPort makes the VM's port at a hypervisor: a link from port to the switch.
func (s *Switch) AddPort(name, hv string, port netns.End) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.vm(name)
	if err != nil {
		return err
	}
	link := hv + "-" + name
	if err := netns.Veth(port, netns.End{NS: s.ns, Name: link}, 0); err != nil {
		return err
	}
	v.ports[hv], err = s.attach(link, s.objs.PortIn, selectorLink{Vm: v.number, To: uint32(v.index)})
	return err
}

// Disconnect pauses the VM: its processes stop, and from the return of the call
// on nothing reaches it and nothing leaves it. What its kernel emits waits.
func (s *Switch) Disconnect(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.vm(name)
	if err != nil {
		return err
	}
	return s.disconnect(v)
}

func (s *Switch) disconnect(v *vm) error {
	if v.freezer != nil {
		v.freezer.Freeze()
	}
	v.at = ""
	// What has left the VM before still leaves where the VM was.
	v.place.Down = 0
	if err := s.objs.Places.Put(v.number, v.place); err != nil {
		return fmt.Errorf("selector: %w", err)
	}
	return v.park.Close()
}

// Connect lets the VM run at a hypervisor. A VM that is connected elsewhere is
// taken from there without a pause.
func (s *Switch) Connect(name, hv string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.vm(name)
	if err != nil {
		return err
	}
	port, ok := v.ports[hv]
	if !ok {
		return fmt.Errorf("selector: VM %s has no port at %s", name, hv)
	}
	v.place = selectorPlace{Down: uint32(port), Up: uint32(port)}
	if err := s.objs.Places.Put(v.number, v.place); err != nil {
		return fmt.Errorf("selector: %w", err)
	}
	v.at = hv
	if err := v.park.Open(); err != nil {
		return err
	}
	if v.freezer != nil {
		v.freezer.Thaw()
	}
	return nil
}

// Where says at which hypervisor the VM runs; "" while it is paused.
func (s *Switch) Where(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.vms[name]; v != nil {
		return v.at
	}
	return ""
}

// Close gives up programs, maps and sockets.
func (s *Switch) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.vms {
		v.park.Remove()
		if v.freezer != nil {
			v.freezer.Thaw()
		}
	}
	return s.objs.Close()
}

func (s *Switch) vm(name string) (*vm, error) {
	if v := s.vms[name]; v != nil {
		return v, nil
	}
	return nil, fmt.Errorf("selector: no VM %q", name)
}

// attach enters a link into the maps and puts a program on its incoming side.
// It uses cls_bpf, which every kernel has that the lab runs on.
func (s *Switch) attach(link string, prog *ebpf.Program, what selectorLink) (int, error) {
	index, err := s.ns.Index(link)
	if err != nil {
		return 0, err
	}
	key := uint32(index)
	if err := errors.Join(s.objs.Links.Put(key, what), s.objs.LostAt.Put(key, selectorLost{})); err != nil {
		return 0, fmt.Errorf("selector: link %s: %w", link, err)
	}
	err = s.ns.Netlink().QdiscAdd(&netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	})
	if err != nil {
		return 0, fmt.Errorf("selector: clsact on %s: %w", link, err)
	}
	err = s.ns.Netlink().FilterAdd(&netlink.BpfFilter{
		FilterAttrs:  netlink.FilterAttrs{LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1},
		Fd:           prog.FD(),
		Name:         "lab",
		DirectAction: true,
	})
	if err != nil {
		return 0, fmt.Errorf("selector: program on %s: %w", link, err)
	}
	return index, nil
}
