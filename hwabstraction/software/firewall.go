package software

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const tableName = "dpmip"

// firewall is the nft table inet dpmip: it wakes conntrack, gives each VM a
// zone, and rejects packets that the programs marked so.
type firewall struct {
	conn  *nftables.Conn
	zones map[bool]*nftables.Set // by: is IPv4; read only

	asking sync.Mutex     // guards look: one question after the other
	look   *nftables.Conn // the audit's: answers to it do not mix with those to conn
}

// zoneChange is what a batch does to the zones.
type zoneChange struct {
	put  map[netip.Addr]uint16
	drop map[netip.Addr]bool
}

// add notes one more rule for a VM's address.
func (z *zoneChange) add(d *Device, a netip.Addr, zone uint16) {
	if d.zoneRefs[a]++; d.zoneRefs[a] > 1 {
		return
	}
	if z.drop[a] {
		delete(z.drop, a)
		return
	}
	if z.put == nil {
		z.put = map[netip.Addr]uint16{}
	}
	z.put[a] = zone
}

// remove notes one rule less.
func (z *zoneChange) remove(d *Device, a netip.Addr) {
	if d.zoneRefs[a]--; d.zoneRefs[a] > 0 {
		return
	}
	delete(d.zoneRefs, a)
	if _, ok := z.put[a]; ok {
		delete(z.put, a)
		return
	}
	if z.drop == nil {
		z.drop = map[netip.Addr]bool{}
	}
	z.drop[a] = true
}

// openFirewall writes the table anew, with the zones of the rules that were
// adopted.
func (d *Device) openFirewall() error {
	// Sockets for good: the kernel takes some 10 ms to close one.
	d.nft = &firewall{zones: map[bool]*nftables.Set{true: zoneSet(true), false: zoneSet(false)}}
	for _, c := range []**nftables.Conn{&d.nft.conn, &d.nft.look} {
		var err error
		if *c, err = nftables.New(nftables.WithNetNSFd(d.ns.fd()), nftables.AsLasting(), nftables.WithSockOptions(roomy)); err != nil {
			return fmt.Errorf("software: nftables: %w", err)
		}
	}
	if err := d.writeFirewall(); err != nil {
		return err
	}
	return d.ns.do(prepareConntrack)
}

// roomy lets a transaction with the zones of every rule be sent, which the kernel
// takes in one piece; nothing is reserved by it.
func roomy(c *netlink.Conn) error { return c.SetWriteBuffer(64 << 20) }

// writeFirewall writes the table in one transaction.
func (d *Device) writeFirewall() error {
	f := d.nft
	t := table()
	f.conn.AddTable(t)
	f.conn.DelTable(t)
	f.conn.AddTable(t)
	if err := f.addZones(d.adoptedZones()); err != nil {
		return fmt.Errorf("software: nftables: %w", err)
	}
	f.addNotrack(t, d.mark(markLarge))
	f.addZoneRules(t)
	f.addReject(t, d.mark(markReject))
	if err := f.conn.Flush(); err != nil {
		return fmt.Errorf("software: nftables: %w", err)
	}
	return nil
}

func table() *nftables.Table {
	return &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
}

func (f *firewall) close() error {
	var errs []error
	for _, c := range []*nftables.Conn{f.conn, f.look} {
		if c == nil {
			continue
		}
		if err := c.CloseLasting(); err != nil {
			errs = append(errs, fmt.Errorf("software: nftables: %w", err))
		}
	}
	return errors.Join(errs...)
}

// adoptedZones finds the zone of every VM address that has a rule.
func (d *Device) adoptedZones() map[netip.Addr]uint16 {
	zones := map[netip.Addr]uint16{}
	for _, at := range d.sources {
		s := &d.tables.rules.at[at]
		zones[s.Addr.addr()] = s.Zone
	}
	for a, slots := range d.restores {
		zones[a] = d.tables.rules.at[d.newest(slots)].Zone
	}
	return zones
}

// zoneSet is the map from VMs' addresses to zones. It has an ID of ours: the
// library's counter is not for several goroutines.
func zoneSet(ipv4 bool) *nftables.Set {
	if ipv4 {
		return &nftables.Set{Table: table(), Name: "zones4", ID: 4, IsMap: true, KeyType: nftables.TypeIPAddr, DataType: nftables.TypeInetService}
	}
	return &nftables.Set{Table: table(), Name: "zones6", ID: 6, IsMap: true, KeyType: nftables.TypeIP6Addr, DataType: nftables.TypeInetService}
}

func (f *firewall) addZones(zones map[netip.Addr]uint16) error {
	for _, v4 := range []bool{true, false} {
		s := f.zones[v4]
		if err := f.conn.AddSet(s, nil); err != nil {
			return err
		}
		if err := inParts(elements(zones, v4), s, f.conn.SetAddElements); err != nil {
			return err
		}
	}
	return nil
}

// elementsOnce is how many elements go into one message: the length of its list
// has 16 bits, and an element takes up to 64 bytes.
const elementsOnce = 512

// inParts hands elements on in messages of one transaction.
func inParts(all []nftables.SetElement, s *nftables.Set, f func(*nftables.Set, []nftables.SetElement) error) error {
	for part := range slices.Chunk(all, elementsOnce) {
		if err := f(s, part); err != nil {
			return err
		}
	}
	return nil
}

func elements(zones map[netip.Addr]uint16, v4 bool) []nftables.SetElement {
	var out []nftables.SetElement
	for a, zone := range zones {
		if a.Is4() == v4 {
			out = append(out, nftables.SetElement{Key: a.AsSlice(), Val: binaryutil.NativeEndian.PutUint16(zone)})
		}
	}
	return out
}

// addZoneRules puts packets of a VM into its zone, whichever way they go. Two
// VMs of this host share zone 0: their zones would differ by direction.
func (f *firewall) addZoneRules(t *nftables.Table) {
	chain := f.conn.AddChain(&nftables.Chain{
		Table: t, Name: "zones", Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw,
	})
	for _, v4 := range []bool{true, false} {
		proto, src, dst, size := byte(unix.NFPROTO_IPV6), uint32(8), uint32(24), uint32(16)
		if v4 {
			proto, src, dst, size = unix.NFPROTO_IPV4, 12, 16, 4
		}
		find := func(at uint32) []expr.Any {
			return []expr.Any{
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: at, Len: size},
				&expr.Lookup{SourceRegister: 1, DestRegister: 2, IsDestRegSet: true, SetName: f.zones[v4].Name, SetID: f.zones[v4].ID},
			}
		}
		is := []expr.Any{
			&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
		}
		set := &expr.Ct{Key: expr.CtKeyZONE, Register: 2, SourceRegister: true}
		f.addRule(t, chain, is, find(src), find(dst), []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}})
		f.addRule(t, chain, is, find(src), []expr.Any{set})
		f.addRule(t, chain, is, find(dst), []expr.Any{set})
	}
}

func (f *firewall) addRule(t *nftables.Table, c *nftables.Chain, parts ...[]expr.Any) {
	r := &nftables.Rule{Table: t, Chain: c}
	for _, p := range parts {
		r.Exprs = append(r.Exprs, p...)
	}
	f.conn.AddRule(r)
}

// priorityBeforeDefrag is NF_IP_PRI_RAW_BEFORE_DEFRAG: conntrack must not
// gather fragments of which only some are large.
const priorityBeforeDefrag = -450

// addNotrack leaves packets that are only to be answered or fragmented alone.
func (f *firewall) addNotrack(t *nftables.Table, mark uint32) {
	priority := nftables.ChainPriority(priorityBeforeDefrag)
	chain := f.conn.AddChain(&nftables.Chain{
		Table: t, Name: "large", Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: &priority,
	})
	const anyLarge = 0xfff00000
	f.addRule(t, chain, marked(mark, anyLarge), []expr.Any{&expr.Notrack{}})
}

// marked matches packets by some bits of their mark.
func marked(mark, mask uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(mask), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(mark)},
	}
}

// addReject answers packets that the programs marked.
func (f *firewall) addReject(t *nftables.Table, mark uint32) {
	chain := f.conn.AddChain(&nftables.Chain{
		Table: t, Name: "reject", Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	is := marked(mark, markMask)
	tcp := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Reject{Type: unix.NFT_REJECT_TCP_RST},
	}
	f.addRule(t, chain, is, tcp)
	f.addRule(t, chain, is, []expr.Any{
		&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED},
	})
}

// change writes zones to the kernel.
func (f *firewall) change(z zoneChange) error {
	if len(z.put) == 0 && len(z.drop) == 0 {
		return nil
	}
	drop := map[netip.Addr]uint16{}
	for a := range z.drop {
		drop[a] = 0
	}
	for _, v4 := range []bool{true, false} {
		if err := inParts(elements(z.put, v4), f.zones[v4], f.conn.SetAddElements); err != nil {
			return err
		}
		e := elements(drop, v4)
		for i := range e {
			e[i].Val = nil
		}
		if err := inParts(e, f.zones[v4], f.conn.SetDeleteElements); err != nil {
			return err
		}
	}
	if err := f.conn.Flush(); err != nil {
		return fmt.Errorf("software: nftables: %w", err)
	}
	return nil
}
