package flower

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Rewrite changes header fields (pedit): first MACs, then addresses, then the
// hop limit. Checksums are the business of a Checksum after it.
type Rewrite struct {
	SourceMAC, DestinationMAC MAC        // zero: as it is
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

// Attributes of pedit, and the layout of its parameters: tc_gen, then the
// number of keys, then struct tc_pedit_key for each.
const (
	peditTime   = 1
	peditParms  = 4
	peditKeysEx = 5
	peditKeyEx  = 6
	peditHeader = 1 // within a peditKeyEx
	peditCmd    = 2

	peditCount   = genSize
	peditKeys    = genSize + 4
	peditKeySize = 24
)

// edit changes four bytes of a header: those that mask has as ones stay.
type edit struct {
	header, cmd uint16
	offset      uint32 // a multiple of 4
	mask, value [4]byte
}

func (Rewrite) kind() string { return "pedit" }
func (Rewrite) ends() bool   { return false }

func (a Rewrite) validate(f Filter) error {
	if a == (Rewrite{}) {
		return errors.New("nothing to change")
	}
	if f.All && (a.Hop || a.Source.IsValid() || a.Destination.IsValid()) {
		return errors.New("of all protocols only MACs can be written")
	}
	for _, x := range []netip.Addr{a.Source, a.Destination} {
		if x.IsValid() && x.Is4() != f.IPv4 {
			return fmt.Errorf("%s: of the other family", x)
		}
	}
	return nil
}

// Where the fields begin in their headers.
const (
	atEthDst, atEthSrc = 0, 6
	atIP4Src, atIP4Dst = 12, 16
	atIP6Src, atIP6Dst = 8, 24
)

func (a Rewrite) edits(ipv4 bool) []edit {
	list := make([]edit, 0, 12)
	if a.SourceMAC != (MAC{}) {
		list = appendSet(list, headerEth, atEthSrc, a.SourceMAC[:])
	}
	if a.DestinationMAC != (MAC{}) {
		list = appendSet(list, headerEth, atEthDst, a.DestinationMAC[:])
	}
	list = appendAddr(list, a.Source, atIP4Src, atIP6Src)
	list = appendAddr(list, a.Destination, atIP4Dst, atIP6Dst)
	if a.Hop {
		list = append(list, less(ipv4))
	}
	return list
}

func appendAddr(list []edit, a netip.Addr, v4, v6 uint32) []edit {
	switch {
	case a.Is4():
		return appendSet(list, headerIP4, v4, a.AsSlice())
	case a.IsValid():
		return appendSet(list, headerIP6, v6, a.AsSlice())
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

// appendSet writes bytes into a header, word by word.
func appendSet(list []edit, header uint16, at uint32, b []byte) []edit {
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

func (a Rewrite) appendOptions(b []byte, ipv4 bool) []byte {
	edits := a.edits(ipv4)
	b, sel := begin(b, peditParms)
	b = append(appendVerdict(b, actPipe), byte(len(edits)), 0, 0, 0)
	for _, e := range edits {
		b = append(append(b, e.mask[:]...), e.value[:]...)
		b = binary.NativeEndian.AppendUint32(b, e.offset)
		b = append(b, make([]byte, 12)...) // at, offmask, shift
	}
	b = end(b, sel)
	b, keys := beginNested(b, peditKeysEx)
	for _, e := range edits {
		var key int
		b, key = beginNested(b, peditKeyEx)
		b = appendUint16(b, peditHeader, e.header)
		b = appendUint16(b, peditCmd, e.cmd)
		b = end(b, key)
	}
	return end(b, keys)
}
