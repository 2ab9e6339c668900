package software

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	nl "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Handle of our cls_bpf filters, and how their names begin.
const (
	filterHandle = 0xd9
	filterName   = "dpmip_"
	sizeofTCMsg  = 20 // struct tcmsg
)

// DefaultPriority is that of the filter in chain 0.
const DefaultPriority = 1

// Place says where cls_bpf filters sit at a port's ingress. TCX has no places:
// its programs come before every filter.
type Place struct {
	// Priority in chain 0; 0 = DefaultPriority. A fast path that stands in
	// front has smaller numbers.
	Priority uint16
	// Chain, if not 0, holds the same program once more: a fast path that has
	// sent a packet into another chain cannot send it back to chain 0.
	Chain uint32
}

// place is one filter's.
type place struct {
	chain    uint32
	priority uint16
}

// places are all where a program must be, the further chain first: what goes
// there must find it.
func (p Place) places() []place {
	if p.Chain == 0 {
		return []place{{0, p.Priority}}
	}
	return []place{{p.Chain, DefaultPriority}, {0, p.Priority}}
}

func (d *Device) attachFilter(ifindex uint32, prog *ebpf.Program, name string) error {
	err := d.nl.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: int(ifindex), Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("clsact: %w", err)
	}
	for _, p := range d.cfg.Place.places() {
		f := p.filter(ifindex)
		f.Fd, f.Name, f.DirectAction = prog.FD(), filterName+name, true
		if err := d.nl.FilterReplace(f); err != nil {
			return fmt.Errorf("filter in chain %d, priority %d: %w", p.chain, p.priority, err)
		}
	}
	return nil
}

func (p place) filter(ifindex uint32) *netlink.BpfFilter {
	f := &netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{
		LinkIndex: int(ifindex), Parent: netlink.HANDLE_MIN_INGRESS,
		Handle: filterHandle, Protocol: unix.ETH_P_ALL, Priority: p.priority,
	}}
	if p.chain != 0 {
		f.Chain = &p.chain
	}
	return f
}

// filters are the places of our filters on a port, as the kernel has them.
func (d *Device) filters(ifindex uint32) ([]place, error) {
	fs, err := d.nl.FilterList(&netlink.Ifb{LinkAttrs: netlink.LinkAttrs{Index: int(ifindex)}}, netlink.HANDLE_MIN_INGRESS)
	if err != nil {
		return nil, err
	}
	var out []place
	for _, f := range fs {
		b, ok := f.(*netlink.BpfFilter)
		if !ok || b.Attrs().Handle != filterHandle || !strings.HasPrefix(b.Name, filterName) {
			continue
		}
		p := place{priority: b.Attrs().Priority}
		if b.Attrs().Chain != nil {
			p.chain = *b.Attrs().Chain
		}
		out = append(out, p)
	}
	return out, nil
}

// filterThere reports whether a program of ours (0 = any) stands at a place. It asks
// for that filter alone: a fast path may have thousands on the port.
func (d *Device) filterThere(ifindex uint32, at place, program ebpf.ProgramID) bool {
	b := make([]byte, 8, sizeofTCMsg)
	binary.NativeEndian.PutUint32(b[4:], ifindex)
	protocol := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	for _, v := range []uint32{filterHandle, netlink.HANDLE_MIN_INGRESS, uint32(at.priority)<<16 | uint32(protocol)} {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	ae := nl.NewAttributeEncoder()
	ae.Uint32(unix.TCA_CHAIN, at.chain)
	attrs, err := ae.Encode()
	if err != nil {
		return false
	}
	got, err := d.ask.Execute(nl.Message{Header: nl.Header{Type: unix.RTM_GETTFILTER, Flags: nl.Request}, Data: append(b, attrs...)})
	if err != nil || len(got) != 1 || len(got[0].Data) < sizeofTCMsg {
		return false
	}
	id, name, err := bpfFilter(got[0].Data[sizeofTCMsg:])
	return err == nil && strings.HasPrefix(name, filterName) && (program == 0 || id == uint32(program))
}

// bpfFilter reads program and name of a cls_bpf filter's attributes.
func bpfFilter(attrs []byte) (id uint32, name string, err error) {
	const bpfName, bpfID = 7, 11 // TCA_BPF_NAME, TCA_BPF_ID
	ad, err := nl.NewAttributeDecoder(attrs)
	if err != nil {
		return 0, "", err
	}
	for ad.Next() {
		if ad.Type() != unix.TCA_OPTIONS {
			continue
		}
		ad.Nested(func(o *nl.AttributeDecoder) error {
			for o.Next() {
				switch o.Type() {
				case bpfName:
					name = o.String()
				case bpfID:
					id = o.Uint32()
				}
			}
			return nil
		})
	}
	return id, name, ad.Err()
}

// removeFilters removes our filters but those at the places to keep. On a port
// without a clsact there are none.
func (d *Device) removeFilters(ifindex uint32, keep []place) {
	have, err := d.filters(ifindex)
	if err != nil {
		d.log.Warn("filters of another configuration may be left", "port", ifindex, "err", err)
	}
	for _, p := range have {
		if slices.Contains(keep, p) {
			continue
		}
		if err := d.nl.FilterDel(p.filter(ifindex)); err != nil && !errors.Is(err, unix.ENOENT) {
			d.log.Warn("filter not removed", "port", ifindex, "chain", p.chain, "priority", p.priority, "err", err)
		}
	}
}
