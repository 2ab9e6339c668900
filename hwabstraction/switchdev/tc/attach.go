package tc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
)

const (
	clsactParent = 0xfffffff1 // TC_H_CLSACT
	clsactHandle = 0xffff0000

	tcaKind         = 1
	tcaChain        = 11
	tcaIngressBlock = 13
)

// Attach makes a port take filters: it puts a clsact qdisc where none is.
// ErrForeign where an ingress qdisc of somebody else is there, or a block that
// several ports share; ErrPortGone where there is no such port.
func (c *Conn) Attach(port int32) error {
	request := tcmsg(head(unix.RTM_NEWQDISC, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL), port, clsactHandle, clsactParent)
	request = binary.NativeEndian.AppendUint16(request, unix.SizeofNlAttr+7)
	request = binary.NativeEndian.AppendUint16(request, tcaKind)
	request = finish(append(request, "clsact\x00\x00"...))
	err := c.write.query(request, func(message) error { return nil })
	switch {
	case errors.Is(err, unix.ENODEV):
		err = hwabstraction.ErrPortGone
	case errors.Is(err, unix.ENOENT):
		err = fmt.Errorf("%w: the kernel has no clsact (sch_ingress): %w", hwabstraction.ErrNotSupported, err)
	case errors.Is(err, unix.EEXIST), errors.Is(err, errAgain): // what is there?
		err = c.attached(port)
	}
	if err != nil {
		return fmt.Errorf("tc: attach to port %d: %w", port, err)
	}
	return nil
}

// attached is nil where the port has a clsact qdisc of its own.
func (c *Conn) attached(port int32) error {
	kind, shared := "", false
	err := again(context.Background(), func() error {
		kind, shared = "", false
		request := finish(tcmsg(head(unix.RTM_GETQDISC, unix.NLM_F_DUMP), port, 0, 0))
		return c.read.query(request, func(m message) error {
			if m.typ != unix.RTM_NEWQDISC || len(m.data) < 20 {
				return nil
			}
			if int32(binary.NativeEndian.Uint32(m.data[4:])) != port || binary.NativeEndian.Uint32(m.data[12:]) != clsactParent {
				return nil
			}
			kind = text(m.data[20:], tcaKind)
			shared = hasAttr(m.data[20:], tcaIngressBlock)
			return nil
		})
	})
	switch {
	case err != nil:
		return err
	case kind == "":
		if err := c.exists(port); err != nil {
			return err
		}
		return ErrDetached
	case kind != "clsact":
		return fmt.Errorf("%w: a qdisc %q is there; whoever put it must give it up (tc qdisc del dev PORT %s)", ErrForeign, kind, kind)
	case shared:
		return fmt.Errorf("%w: its filters are in a block that ports share", ErrForeign)
	}
	return nil
}

func hasAttr(b []byte, attr uint16) bool {
	for len(b) >= unix.SizeofNlAttr {
		size, typ := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if typ == attr {
			return true
		}
		if size < unix.SizeofNlAttr || size > len(b) {
			return false
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return false
}
