package flower

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
)

// Rewrite changes header fields (pedit): first MACs, then addresses, then the
// hop limit. Checksums are the business of a Checksum after it.
type Rewrite struct {
	SourceMAC, DestinationMAC [6]byte    // zero: as it is
	Source, Destination       netip.Addr // invalid: as it is; of the filter's family
	Hop                       bool       // hop limit, or TTL, less one
}

// pedit headers and commands, TCA_PEDIT_KEY_EX_*.
const (
	headerEth = 1
	headerIP4 = 2
	headerIP6 = 3

	cmdSet = 0
	cmdAdd = 1
)

// edit changes four bytes of a header: those that mask has as ones stay.
type edit struct {
	header, cmd uint16
	offset      uint32 // a multiple of 4
	mask, value [4]byte
}

func (Rewrite) kind() string { return "pedit" }
func (Rewrite) ends() bool   { return false }

func (a Rewrite) validate(ipv4 bool) error {
	if a == (Rewrite{}) {
		return errors.New("nothing to change")
	}
	for _, x := range []netip.Addr{a.Source, a.Destination} {
		if x.IsValid() && x.Is4() != ipv4 {
			return fmt.Errorf("%s: of the other family", x)
		}
	}
	return nil
}

func (a Rewrite) edits(ipv4 bool) (list []edit) {
	if a.SourceMAC != [6]byte{} {
		list = append(list, set(headerEth, 6, a.SourceMAC[:])...)
	}
	if a.DestinationMAC != [6]byte{} {
		list = append(list, set(headerEth, 0, a.DestinationMAC[:])...)
	}
	for _, x := range []struct {
		addr   netip.Addr
		v4, v6 uint32
	}{{a.Source, 12, 8}, {a.Destination, 16, 24}} {
		switch {
		case x.addr.Is4():
			list = append(list, set(headerIP4, x.v4, x.addr.AsSlice())...)
		case x.addr.IsValid():
			list = append(list, set(headerIP6, x.v6, x.addr.AsSlice())...)
		}
	}
	if a.Hop {
		list = append(list, less(ipv4))
	}
	return list
}

// less takes one from the TTL or the hop limit: it adds 255 to that byte alone.
func less(ipv4 bool) edit {
	if ipv4 {
		return edit{header: headerIP4, cmd: cmdAdd, offset: 8, mask: [4]byte{0, 0xff, 0xff, 0xff}, value: [4]byte{0xff}}
	}
	return edit{header: headerIP6, cmd: cmdAdd, offset: 4, mask: [4]byte{0xff, 0xff, 0xff, 0}, value: [4]byte{3: 0xff}}
}

// set writes bytes into a header, word by word.
func set(header uint16, at uint32, b []byte) (list []edit) {
	for first := at &^ 3; first < at+uint32(len(b)); first += 4 {
		e := edit{header: header, cmd: cmdSet, offset: first}
		for i := range e.mask {
			pos := first + uint32(i)
			if pos < at || pos >= at+uint32(len(b)) {
				e.mask[i] = 0xff
				continue
			}
			e.value[i] = b[pos-at]
		}
		list = append(list, e)
	}
	return list
}

func (a Rewrite) encode(ae *netlink.AttributeEncoder, ipv4 bool) {
	const (
		parms  = 4
		keysEx = 5
		keyEx  = 6
		htype  = 1
		cmd    = 2
	)
	edits := a.edits(ipv4)
	sel := append(gen(actPipe), byte(len(edits)), 0, 0, 0) // struct tc_pedit_sel
	for _, e := range edits {
		sel = append(append(sel, e.mask[:]...), e.value[:]...)
		sel = binary.NativeEndian.AppendUint32(sel, e.offset)
		sel = append(sel, make([]byte, 12)...) // at, offmask, shift
	}
	ae.Bytes(parms, sel)
	ae.Nested(keysEx, func(ae *netlink.AttributeEncoder) error {
		for _, e := range edits {
			ae.Nested(keyEx, func(ae *netlink.AttributeEncoder) error {
				ae.Uint16(htype, e.header)
				ae.Uint16(cmd, e.cmd)
				return nil
			})
		}
		return nil
	})
}
