package detect

import (
	"encoding/binary"
	"errors"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	vnl "github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
)

func encode(t *testing.T, fill func(*netlink.AttributeEncoder)) []byte {
	t.Helper()
	ae := netlink.NewAttributeEncoder()
	fill(ae)
	b, err := ae.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseLink(t *testing.T) {
	t.Parallel()
	head := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(head[4:], 9)
	got, err := parseLink(append(head, encode(t, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, "eth7")
		ae.Uint32(unix.IFLA_MTU, 9216)
		ae.Bytes(unix.IFLA_PHYS_SWITCH_ID, []byte{0xf4, 0xc7, 0xb5, 0, 0x03, 0xa4, 0xce, 0x08})
		ae.String(unix.IFLA_PHYS_PORT_NAME, "c1pf0vf3")
	})...))
	want := Netdev{Name: "eth7", Index: 9, MTU: 9216, SwitchID: "f4c7b50003a4ce08", PortName: "c1pf0vf3"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if _, err := parseLink(head[:8]); err == nil {
		t.Error("half a message was read")
	}
}

func TestParseDevlinkPort(t *testing.T) {
	t.Parallel()
	active := func(ae *netlink.AttributeEncoder) error { ae.Uint8(devlinkFnState, 1); return nil }
	for _, tt := range []struct {
		name string
		fill func(*netlink.AttributeEncoder)
		want devlinkPort
	}{
		{"an uplink", func(ae *netlink.AttributeEncoder) {
			ae.Uint32(devlinkPortIfindex, 3)
			ae.Uint16(devlinkPortFlavour, 0)
			ae.Uint32(devlinkPortNumber, 1)
		}, devlinkPort{Index: 3, Function: Function{Kind: Uplink, PF: 1}}},
		{"a VF of the host", func(ae *netlink.AttributeEncoder) {
			ae.Uint32(devlinkPortIfindex, 4)
			ae.Uint16(devlinkPortFlavour, 4)
			ae.Uint32(devlinkPortControl, 1)
			ae.Uint16(devlinkPortPF, 0)
			ae.Uint16(devlinkPortVF, 3)
		}, devlinkPort{Index: 4, Function: Function{Kind: VF, Controller: 1, Number: 3}}},
		{"an SF", func(ae *netlink.AttributeEncoder) {
			ae.Uint32(devlinkPortIfindex, 5)
			ae.Uint16(devlinkPortFlavour, 7)
			ae.Uint32(devlinkPortSF, 88)
			ae.Nested(devlinkPortFunction, active)
		}, devlinkPort{Index: 5, Function: Function{Kind: SF, Number: 88}, State: "active"}},
		{"a port that forwards nothing", func(ae *netlink.AttributeEncoder) { ae.Uint16(devlinkPortFlavour, 6) }, devlinkPort{}},
	} {
		got, err := parseDevlinkPort(encode(t, tt.fill))
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", tt.name, err, diff)
		}
	}
	if _, err := parseDevlinkPort([]byte{3, 0, 0, 0}); err == nil {
		t.Error("an attribute shorter than its own head was read")
	}
}

func TestParseFeatures(t *testing.T) {
	t.Parallel()
	set := func(noMask bool, names map[string]bool) func(*netlink.AttributeEncoder) error {
		return func(ae *netlink.AttributeEncoder) error {
			ae.Flag(ethtoolNoMask, noMask)
			ae.Nested(ethtoolBits, func(ae *netlink.AttributeEncoder) error {
				for name, on := range names {
					ae.Nested(ethtoolBit, func(ae *netlink.AttributeEncoder) error {
						ae.String(ethtoolBitName, name)
						ae.Flag(ethtoolBitValue, on)
						return nil
					})
				}
				return nil
			})
			return nil
		}
	}
	for want, tt := range map[string]struct{ can, on, fixed bool }{
		"on": {true, true, false}, "off": {true, false, false}, "off [fixed]": {false, false, false}, "on [fixed]": {true, true, true},
	} {
		got, err := parseFeatures(encode(t, func(ae *netlink.AttributeEncoder) {
			ae.Nested(ethtoolHardware, set(false, map[string]bool{"rx-gro": true, tcOffload: tt.can}))
			on, fixed := map[string]bool{"rx-gro": false}, map[string]bool{}
			if tt.on {
				on[tcOffload] = false // listed = set
			}
			if tt.fixed {
				fixed[tcOffload] = false
			}
			ae.Nested(ethtoolActive, set(true, on))
			ae.Nested(ethtoolFixed, set(true, fixed))
		}))
		if got != want || err != nil {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
}

// TestResolver follows ports of a real namespace while they come, are renamed
// and go.
func TestResolver(t *testing.T) {
	t.Parallel()
	needRoot(t)
	ns, h := scratch(t)
	r, err := NewResolver(int(ns), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	if _, err := r.Index("vm0"); !errors.Is(err, hwabstraction.ErrPortGone) {
		t.Errorf("a port that is not there: %v", err)
	}
	attrs := vnl.NewLinkAttrs()
	attrs.Name = "vm0"
	if err := h.LinkAdd(&vnl.Veth{LinkAttrs: attrs, PeerName: "peer"}); err != nil {
		t.Fatal(err)
	}
	l, err := h.LinkByName("vm0")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is known
		if got, err := r.Index("vm0"); err != nil || int(got) != l.Attrs().Index {
			t.Errorf("vm0 is %d, %v; want %d", got, err, l.Attrs().Index)
		}
	}
	if err := h.LinkSetName(l, "vm1"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Index("vm0"); !errors.Is(err, hwabstraction.ErrPortGone) {
		t.Errorf("a port that was renamed: %v", err)
	}
	if got, err := r.Index("vm1"); err != nil || int(got) != l.Attrs().Index {
		t.Errorf("vm1 is %d, %v; want %d", got, err, l.Attrs().Index)
	}
	if err := h.LinkDel(l); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Index("vm1"); !errors.Is(err, hwabstraction.ErrPortGone) {
		t.Errorf("a port that has gone: %v", err)
	}
}

// scratch is a namespace of the test.
func scratch(t *testing.T) (netns.NsHandle, *vnl.Handle) {
	t.Helper()
	type made struct {
		ns  netns.NsHandle
		err error
	}
	done := make(chan made)
	go func() { // the thread dies in the namespace
		runtime.LockOSThread()
		ns, err := netns.New()
		done <- made{ns, err}
	}()
	m := <-done
	if m.err != nil {
		t.Fatal(m.err)
	}
	t.Cleanup(func() { m.ns.Close() })
	h, err := vnl.NewHandleAt(m.ns, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return m.ns, h
}
