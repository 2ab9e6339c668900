package flower

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

// options are those of one action, by attribute. Who reads one takes it: what is
// left over says something that no Action says.
type options struct {
	attrs [24][]byte
	more  bool // attributes beyond
	idle  time.Duration
}

func (o *options) read(b []byte) error {
	return attributes(b, func(a attribute) error {
		if int(a.typ) < len(o.attrs) {
			o.attrs[a.typ] = a.data
		} else {
			o.more = true
		}
		return nil
	})
}

func (o *options) take(attr int) []byte {
	b := o.attrs[attr]
	o.attrs[attr] = nil
	return b
}

func (o *options) empty() bool {
	return !o.more && !slices.ContainsFunc(o.attrs[:], func(b []byte) bool { return b != nil })
}

// parms takes tc_gen with a number of words after it.
func (o *options) parms(attr, words int) (verdict uint32, w [2]uint32, ok bool) {
	b := o.take(attr)
	if len(b) != genSize+4*words {
		return 0, w, false
	}
	for i := range words {
		w[i] = binary.NativeEndian.Uint32(b[genSize+4*i:])
	}
	return binary.NativeEndian.Uint32(b[genVerdict:]), w, true
}

// times takes struct tcf_t, and the attribute that only pads.
func (o *options) times(attr, pad int) {
	o.take(pad)
	if b := o.take(attr); len(b) >= 16 {
		o.idle = time.Duration(min(binary.NativeEndian.Uint64(b[8:]), 1<<40)) * tick
	}
}

func (o *options) uint16(attr int) uint16 {
	b := o.take(attr)
	if len(b) != 2 {
		return 0
	}
	return binary.NativeEndian.Uint16(b)
}

// action is nil where no Action says what it does.
func (o *options) action(kind string, ipv4 bool) Action {
	switch kind {
	case "ct":
		return o.conntrack()
	case "csum":
		o.times(csumTime, 3)
		if verdict, w, ok := o.parms(csumParms, 1); ok && verdict == actPipe {
			return Checksum(w[0])
		}
	case "mirred":
		o.times(endTime, 3)
		if verdict, w, ok := o.parms(endParms, 2); ok && verdict == actStolen && w[0] == egressRedirect {
			return Redirect{Port: int32(w[1])}
		}
	case "gact":
		o.times(endTime, 4)
		if verdict, _, ok := o.parms(endParms, 0); ok {
			return verdictAction(verdict)
		}
	case "pedit":
		o.times(peditTime, 3)
		return o.rewrite(ipv4)
	}
	return nil
}

func verdictAction(verdict uint32) Action {
	switch {
	case verdict == actShot:
		return Drop{}
	case verdict == actTrap:
		return Trap{}
	case verdict&^maxChain == actGoto:
		return Goto{Chain: verdict & maxChain}
	}
	return nil
}

func (o *options) conntrack() Action {
	o.times(ctTime, 15)
	what, zone := o.uint16(ctAction), o.uint16(ctZone)
	verdict, _, ok := o.parms(ctParms, 0)
	if !ok || verdict != actPipe || what&^ctCommit != 0 {
		return nil
	}
	return Conntrack{Zone: zone, Commit: what == ctCommit}
}

// rewrite reads pedit's edits, and makes them again out of what it has read:
// only what comes out the same was a Rewrite.
func (o *options) rewrite(ipv4 bool) Action {
	edits, ok := o.edits()
	if !ok {
		return nil
	}
	var r Rewrite
	var headers [headerIP6 + 1][40]byte
	for _, e := range edits {
		switch {
		case e == less(ipv4):
			r.Hop = true
		case e.cmd == cmdSet && e.header >= headerEth && e.header <= headerIP6 && e.offset <= 36:
			h := headers[e.header][e.offset : e.offset+4]
			for i := range h {
				h[i] = h[i]&e.mask[i] | e.value[i]
			}
		default:
			return nil
		}
	}
	eth, ip4, ip6 := headers[headerEth], headers[headerIP4], headers[headerIP6]
	r.SourceMAC, r.DestinationMAC = MAC(eth[atEthSrc:]), MAC(eth[atEthDst:])
	for _, e := range edits {
		switch {
		case e.cmd != cmdSet:
		case e.header == headerIP4 && e.offset == atIP4Src:
			r.Source = netip.AddrFrom4([4]byte(ip4[atIP4Src:]))
		case e.header == headerIP4 && e.offset == atIP4Dst:
			r.Destination = netip.AddrFrom4([4]byte(ip4[atIP4Dst:]))
		case e.header == headerIP6 && e.offset == atIP6Src:
			r.Source = netip.AddrFrom16([16]byte(ip6[atIP6Src:]))
		case e.header == headerIP6 && e.offset == atIP6Dst:
			r.Destination = netip.AddrFrom16([16]byte(ip6[atIP6Dst:]))
		}
	}
	if !slices.Equal(edits, r.edits(ipv4)) {
		return nil
	}
	return r
}

// edits takes pedit's keys and, beside each, header and command.
func (o *options) edits() ([]edit, bool) {
	parms, extra := o.take(peditParms), o.take(peditKeysEx)
	if len(parms) < peditKeys || binary.NativeEndian.Uint32(parms[genVerdict:]) != actPipe {
		return nil, false
	}
	n := int(parms[peditCount])
	if len(parms) != peditKeys+n*peditKeySize || n == 0 {
		return nil, false
	}
	edits := make([]edit, n)
	for i := range edits {
		k := parms[peditKeys+i*peditKeySize:]
		edits[i] = edit{offset: binary.NativeEndian.Uint32(k[8:]), mask: [4]byte(k), value: [4]byte(k[4:])}
		if [12]byte(k[12:]) != [12]byte{} { // at, offmask, shift
			return nil, false
		}
	}
	i := 0
	err := attributes(extra, func(a attribute) error {
		i++
		if i > n {
			return nil
		}
		return edits[i-1].readHeader(a.data)
	})
	return edits, err == nil && i == n
}

func (e *edit) readHeader(b []byte) error {
	return attributes(b, func(a attribute) error {
		switch a.typ {
		case peditHeader:
			return a.uint16(&e.header)
		case peditCmd:
			return a.uint16(&e.cmd)
		}
		return nil
	})
}
