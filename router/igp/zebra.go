package igp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"time"
)

// DefaultSocket is the folder of the daemons' sockets in Debian and most others.
const DefaultSocket = "/var/run/frr"

// Zebra is zebra alone as a Shell, by the socket that vtysh uses: no program is
// started for a question. It needs root, or the group frrvty. Any goroutine may
// ask; questions are answered one after the other.
//
// A command ends with a zero byte. What it prints ends with three zero bytes and
// one that is its status: 0 done, 1 a warning ("nothing found"), 2 and more an
// error, which the text tells.
type Zebra struct {
	path string

	mu   sync.Mutex // guards conn, and that questions do not mix
	conn net.Conn   // nil: not connected
}

// NewZebra returns a Shell for the zebra whose socket is in the folder; "" = FRR's
// own. It connects with the first question, and again when zebra has restarted.
func NewZebra(folder string) *Zebra {
	if folder == "" {
		folder = DefaultSocket
	}
	return &Zebra{path: filepath.Join(folder, "zebra.vty")}
}

// Bounds of one question.
const (
	zebraTimeout = 2 * time.Second
	maxAnswer    = 1 << 20 // bytes
)

// Show asks one command that zebra knows by itself.
func (z *Zebra) Show(ctx context.Context, command string) ([]byte, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	old := z.conn != nil
	out, err := z.ask(ctx, command)
	if err != nil && old && ctx.Err() == nil { // it may have restarted since
		out, err = z.ask(ctx, command)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNoFRR, command, err)
	}
	return out, nil
}

// Close ends the connection; a later question opens a new one.
func (z *Zebra) Close() {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.drop()
}

func (z *Zebra) drop() {
	if z.conn != nil {
		_ = z.conn.Close() // nothing is left to be lost
		z.conn = nil
	}
}

func (z *Zebra) ask(ctx context.Context, command string) (out []byte, err error) {
	defer func() {
		if err != nil {
			z.drop()
		}
	}()
	if z.conn == nil {
		if z.conn, err = new(net.Dialer).DialContext(ctx, "unix", z.path); err != nil {
			return nil, err
		}
	}
	end := time.Now().Add(zebraTimeout)
	if t, ok := ctx.Deadline(); ok && t.Before(end) {
		end = t
	}
	if err := z.conn.SetDeadline(end); err != nil {
		return nil, err
	}
	if _, err := z.conn.Write(append([]byte(command), 0)); err != nil {
		return nil, err
	}
	return answer(z.conn)
}

// answer reads what one command prints.
func answer(conn net.Conn) ([]byte, error) {
	var b []byte
	part := make([]byte, 4096)
	for {
		n, err := conn.Read(part)
		if b = append(b, part[:n]...); len(b) >= 4 && bytes.Equal(b[len(b)-4:len(b)-1], []byte{0, 0, 0}) {
			text, status := b[:len(b)-4], b[len(b)-1]
			if status > 1 {
				return nil, fmt.Errorf("status %d: %s", status, bytes.TrimSpace(text))
			}
			return text, nil
		}
		if err != nil {
			return nil, err
		}
		if len(b) > maxAnswer {
			return nil, errors.New("the answer does not end")
		}
	}
}
