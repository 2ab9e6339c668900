package tc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
)

// tries is how often an answer that is not whole is asked for again.
const tries = 8

// List reads all filters on the ingress side of a port, of every chain and
// classifier, in the order that the kernel asks them within a chain. A port
// without a clsact qdisc has none; ErrPortGone where there is no such port.
func (c *Conn) List(ctx context.Context, port int32) ([]flower.Status, error) {
	return c.list(ctx, port, nil)
}

// ListChain is List of one chain: the kernel leaves the others out.
func (c *Conn) ListChain(ctx context.Context, port int32, chain uint32) ([]flower.Status, error) {
	return c.list(ctx, port, &chain)
}

func (c *Conn) list(ctx context.Context, port int32, chain *uint32) ([]flower.Status, error) {
	var found []flower.Status
	err := again(ctx, func() error {
		found = found[:0]
		request := tcmsg(head(unix.RTM_GETTFILTER, unix.NLM_F_DUMP), port, 0, flower.Ingress)
		if chain != nil {
			request = binary.NativeEndian.AppendUint16(request, unix.SizeofNlAttr+4)
			request = binary.NativeEndian.AppendUint16(request, tcaChain)
			request = binary.NativeEndian.AppendUint32(request, *chain)
		}
		request = finish(request)
		return c.read.query(request, func(m message) error {
			if m.typ != unix.RTM_NEWTFILTER {
				return nil
			}
			s, ok, err := flower.ParseStatus(m.data)
			if err == nil && ok {
				found = append(found, s)
			}
			return err
		})
	})
	if err == nil && len(found) == 0 {
		err = c.exists(port) // the kernel's dump says nothing of a port that is not there
	}
	if err != nil {
		return nil, fmt.Errorf("tc: filters of port %d: %w", port, err)
	}
	return found, nil
}

// again asks until an answer is whole.
func again(ctx context.Context, ask func() error) error {
	var err error
	for range tries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err = ask(); !errors.Is(err, errAgain) {
			return err
		}
	}
	return fmt.Errorf("%w, %d times", err, tries)
}

// exists is ErrPortGone where there is no such port.
func (c *Conn) exists(port int32) error {
	request := head(unix.RTM_GETLINK, unix.NLM_F_ACK)
	request = append(request, make([]byte, unix.SizeofIfInfomsg)...)
	binary.NativeEndian.PutUint32(request[unix.SizeofNlMsghdr+4:], uint32(port))
	err := again(context.Background(), func() error {
		return c.read.query(finish(request), func(message) error { return nil })
	})
	if errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("%w: %w", hwabstraction.ErrPortGone, err)
	}
	return err
}
