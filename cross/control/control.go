package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Socket is PID 1's.
const Socket = "/run/dpmip-init.sock"

// maxRequest is the longest request, in bytes.
const maxRequest = 4096

// Request is one thing asked.
type Request struct {
	Verb string `json:"verb"`
	File string `json:"file,omitempty"` // absolute
}

// Answer is one line back; the last has Done.
type Answer struct {
	Step   string          `json:"step,omitempty"`
	Done   bool            `json:"done,omitempty"`
	Error  string          `json:"error,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
}

// Handler carries out a request; step tells the caller how far it is. The
// result is encoded as JSON; nil = none.
type Handler func(ctx context.Context, r Request, step func(string)) (any, error)

// Serve answers at the socket until ctx ends. A caller that goes away does not
// end what it has asked for.
func Serve(ctx context.Context, socket string, h Handler) error {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("control: %w", err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		l.Close()
		return fmt.Errorf("control: %w", err)
	}
	var all sync.WaitGroup
	defer all.Wait()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("control: %w", err)
		}
		all.Go(func() { serve(ctx, conn, h) })
	}
}

// patience is how long a caller may take to send its request.
const patience = 5 * time.Second

func serve(ctx context.Context, conn net.Conn, h Handler) {
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	line, err := bufio.NewReader(io.LimitReader(conn, maxRequest)).ReadBytes('\n')
	if err != nil {
		return
	}
	enc := json.NewEncoder(conn)
	say := func(a Answer) {
		_ = conn.SetWriteDeadline(time.Now().Add(patience))
		_ = enc.Encode(a) // the caller may have gone
	}
	var r Request
	if err := json.Unmarshal(line, &r); err != nil {
		say(Answer{Done: true, Error: "control: " + err.Error()})
		return
	}
	result, err := h(ctx, r, func(s string) { say(Answer{Step: s}) })
	last := Answer{Done: true}
	if err != nil {
		last.Error = err.Error()
	}
	if result != nil {
		if last.Result, err = json.Marshal(result); err != nil {
			last.Error = err.Error()
		}
	}
	say(last)
}

// ErrRefused wraps what PID 1 said when it could or would not.
var ErrRefused = errors.New("refused")

// Call asks and waits for the last answer; step hears of the others.
func Call(ctx context.Context, socket string, r Request, step func(string)) (json.RawMessage, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("control: is dpmip-init PID 1 here? %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	dec := json.NewDecoder(conn)
	for {
		var a Answer
		if err := dec.Decode(&a); err != nil {
			return nil, fmt.Errorf("control: no last answer: %w", err)
		}
		switch {
		case !a.Done:
			step(a.Step)
		case a.Error != "":
			return a.Result, fmt.Errorf("%w: %s", ErrRefused, a.Error)
		default:
			return a.Result, nil
		}
	}
}
