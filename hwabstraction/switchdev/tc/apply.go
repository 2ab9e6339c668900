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

// A batch is at most so many messages and bytes: even with default buffers the
// kernel can answer each of them, and nobody waits for long.
const (
	maxBatch      = 128
	maxBatchBytes = 96 << 10
)

// Apply carries out the requests in order and returns an error for each: nil
// where the filter now is, or no longer is. A request that fails does not keep
// the others from being carried out. Once ctx is done, what was not yet sent is
// not. Where the kernel could not answer (ENOBUFS, part of a batch) its tables
// are read, and what is not there yet is sent again; of several requests for one
// handle, the last one's outcome then counts for all.
//
// An error wraps what the contract calls it (Error); ErrInvalidRule where no
// kernel would take the filter.
func (c *Conn) Apply(ctx context.Context, requests []Request) []error {
	j := job{requests: requests, errs: make([]error, len(requests))}
	all := make([]int, len(requests))
	for i := range all {
		all[i] = i
	}
	c.apply(ctx, &j, all, maxBatch)
	c.explain(&j)
	return j.errs
}

// job is the requests of one Apply and their errors.
type job struct {
	requests []Request
	errs     []error
}

func (j *job) fill(which []int, err error) {
	for _, i := range which {
		j.errs[i] = err
	}
}

// apply carries out some of a job's requests, at most size at a time.
func (c *Conn) apply(ctx context.Context, j *job, which []int, size int) {
	for len(which) > 0 {
		if err := ctx.Err(); err != nil {
			j.fill(which, fmt.Errorf("tc: not sent: %w", err))
			return
		}
		sent, n, lost, err := c.write.batch(j, which, size)
		which = which[n:]
		switch {
		case err != nil && tooMuch(err) && len(sent) > 1:
			c.less.Add(1)
			c.apply(ctx, j, sent, (len(sent)+1)/2)
		case err != nil:
			j.fill(sent, fmt.Errorf("tc: send %d requests: %w", len(sent), err))
		case len(lost) > 0:
			c.unheard.Add(1)
			c.settle(ctx, j, sent, lost)
		}
	}
}

// tooMuch are the errors of a send that a smaller one may not meet. Nothing of
// it was carried out.
func tooMuch(err error) bool {
	return errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.EMSGSIZE)
}

// batch sends one batch of which and takes its answers: sent are the requests in
// it, n how many of which are dealt with, those that are invalid included, lost
// those of sent whose answer is missing. An error is the send's.
func (t *talk) batch(j *job, which []int, size int) (sent []int, n int, lost []int, err error) {
	t.enter()
	defer t.leave()
	if sent, n = t.encode(j, which, size); len(sent) > 0 {
		lost, err = t.exchange(j, sent)
	}
	return sent, n, lost, err
}

// encode writes one batch into t.buf.
func (t *talk) encode(j *job, which []int, size int) (sent []int, n int) {
	t.buf = t.buf[:0]
	sent = make([]int, 0, min(size, len(which)))
	last := 0
	for n < len(which) && len(sent) < size && len(t.buf) < maxBatchBytes {
		i := which[n]
		n++
		at := len(t.buf)
		b, err := j.requests[i].append(t.buf)
		if err != nil {
			j.errs[i] = fmt.Errorf("%w: %w", hwabstraction.ErrInvalidRule, err)
			continue
		}
		t.seq++
		binary.NativeEndian.PutUint32(b[at+8:], t.seq)
		t.buf, last, sent = b, at, append(sent, i)
	}
	if len(sent) > 0 {
		flags := t.buf[last+6:]
		binary.NativeEndian.PutUint16(flags, binary.NativeEndian.Uint16(flags)|unix.NLM_F_ACK)
	}
	return sent, n
}

func (r *Request) append(b []byte) ([]byte, error) {
	switch r.Op {
	case Put:
		return r.Filter.AppendAdd(b)
	case Replace:
		return r.Filter.AppendReplace(b)
	case Delete:
		return r.Filter.AppendDelete(b)
	}
	return b, fmt.Errorf("tc: %s", r.Op)
}

// exchange sends the batch in t.buf and notes the answers. Only the last message
// and those that fail are answered, so that without the last answer nothing is
// known of the others: they are lost.
func (t *talk) exchange(j *job, sent []int) (lost []int, err error) {
	first := t.seq - uint32(len(sent)) + 1
	if err := t.socket.Send(t.buf); err != nil {
		return nil, err
	}
	answered := make([]bool, len(sent))
	whole := true
	for failures := 0; failures < maxFailures && !(whole && answered[len(sent)-1]); {
		n, err := t.socket.Receive(t.rcv)
		if err == unix.EAGAIN {
			break
		}
		if err != nil { // ENOBUFS: some answers are lost, others may be there
			whole, failures = false, failures+1
			continue
		}
		err = messages(t.rcv[:n], func(m message) {
			a, ok := m.answer()
			if at := m.seq - first; ok && at < uint32(len(sent)) {
				i := sent[at]
				answered[at], j.errs[i] = true, refusal(&j.requests[i], a)
			}
		})
		whole = whole && err == nil
	}
	if whole && answered[len(sent)-1] {
		return nil, nil
	}
	for at, i := range sent {
		if !answered[at] {
			lost = append(lost, i)
		}
	}
	return lost, nil
}

// place is where a filter is: of two with one place there is only one.
type place struct {
	port          int32
	chain, handle uint32
	priority      uint16
}

func placeOf(f flower.Filter) place { return place{f.Port, f.Chain, f.Handle, f.Priority} }
