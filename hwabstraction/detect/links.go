package detect

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
)

// Resolver finds ports by their names now: VFs come and go while an agent runs.
// It is safe for concurrent use.
type Resolver struct {
	fabric []string

	mu    sync.Mutex // guards the fields below
	conn  *netlink.Conn
	known map[string]Netdev // found before; asked for again before it is believed
}

// NewResolver opens a socket in a network namespace (0 or less = the caller's
// own) for ports beside these of the fabric. The caller closes it.
func NewResolver(ns int, fabric []string) (*Resolver, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: max(ns, 0)})
	if err != nil {
		return nil, fmt.Errorf("detect: rtnetlink: %w", err)
	}
	return &Resolver{fabric: fabric, conn: conn, known: map[string]Netdev{}}, nil
}

// Close closes the socket; Index then fails.
func (r *Resolver) Close() error { return r.conn.Close() }

// Index gives a port's interface index: by what stands behind it ("pf0vf3"),
// else by the interface's name. ErrPortGone where there is none.
func (r *Resolver) Index(name string) (int32, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d, ok := r.known[name]; ok {
		if now, err := readLinks(r.conn, d.Index); err == nil && len(now) == 1 && now[0].same(d) {
			return d.Index, nil
		}
		delete(r.known, name)
	}
	ports, err := readLinks(r.conn, 0)
	if err != nil {
		return 0, err
	}
	d, ok, err := find(ports, r.fabric, name)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", hwabstraction.ErrPortGone, err)
	}
	if !ok {
		return 0, fmt.Errorf("%w: %s", hwabstraction.ErrPortGone, name)
	}
	r.known[name] = d
	return d.Index, nil
}

// same reports whether a port is what it was when it was found.
func (d Netdev) same(before Netdev) bool {
	return d.Name == before.Name && d.SwitchID == before.SwitchID && d.PortName == before.PortName
}

// readLinks asks for one port, or for all (index 0): name, MTU, and where on
// which e-switch it is.
func readLinks(conn *netlink.Conn, index int32) ([]Netdev, error) {
	const skipStats = 1 << 3 // RTEXT_FILTER_SKIP_STATS
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	ae := netlink.NewAttributeEncoder()
	ae.Uint32(unix.IFLA_EXT_MASK, skipStats)
	attrs, err := ae.Encode()
	if err != nil {
		return nil, fmt.Errorf("detect: %w", err)
	}
	flags := netlink.Request
	if index == 0 {
		flags |= netlink.Dump
	}
	msgs, err := conn.Execute(netlink.Message{Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: flags}, Data: append(b, attrs...)})
	if err != nil {
		return nil, fmt.Errorf("detect: read ports: %w", err)
	}
	out := make([]Netdev, 0, len(msgs))
	for _, m := range msgs {
		d, err := parseLink(m.Data)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

// parseLink reads a message of type RTM_NEWLINK.
func parseLink(b []byte) (d Netdev, err error) {
	if len(b) < unix.SizeofIfInfomsg {
		return d, fmt.Errorf("detect: read ports: a message of %d bytes", len(b))
	}
	d.Index = int32(binary.NativeEndian.Uint32(b[4:]))
	ad, err := netlink.NewAttributeDecoder(b[unix.SizeofIfInfomsg:])
	if err != nil {
		return d, fmt.Errorf("detect: read ports: %w", err)
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_IFNAME:
			d.Name = ad.String()
		case unix.IFLA_MTU:
			d.MTU = int(ad.Uint32())
		case unix.IFLA_PHYS_SWITCH_ID:
			d.SwitchID = hex.EncodeToString(ad.Bytes())
		case unix.IFLA_PHYS_PORT_NAME:
			d.PortName = ad.String()
		}
	}
	if err := ad.Err(); err != nil {
		return d, fmt.Errorf("detect: read ports: %w", err)
	}
	return d, nil
}
