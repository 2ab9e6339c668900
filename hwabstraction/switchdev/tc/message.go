package tc

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// message is one netlink message of the kernel.
type message struct {
	typ, flags uint16
	seq        uint32
	data       []byte // after the header; only until the next Receive
}

// errTruncated is about a message that does not fit its datagram.
var errTruncated = errors.New("a truncated message of the kernel")

// messages calls each for every message of a datagram.
func messages(b []byte, each func(message)) error {
	for len(b) > 0 {
		if len(b) < unix.SizeofNlMsghdr {
			return errTruncated
		}
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return errTruncated
		}
		each(message{
			typ: binary.NativeEndian.Uint16(b[4:]), flags: binary.NativeEndian.Uint16(b[6:]),
			seq: binary.NativeEndian.Uint32(b[8:]), data: b[unix.SizeofNlMsghdr:size],
		})
		b = b[min(len(b), (size+3)&^3):]
	}
	return nil
}

// answer is what the kernel says of one request: an error number, 0 where it was
// carried out, and a reason where the kernel has one.
type answer struct {
	errno  syscall.Errno
	reason string
}

// answer reads an NLMSG_ERROR; false where it is too short to be one.
func (m message) answer() (answer, bool) {
	if m.typ != unix.NLMSG_ERROR || len(m.data) < 4+unix.SizeofNlMsghdr {
		return answer{}, false
	}
	a := answer{errno: syscall.Errno(-int32(binary.NativeEndian.Uint32(m.data)))}
	if m.flags&unix.NLM_F_ACK_TLVS == 0 {
		return a, true
	}
	at := uint64(4 + unix.SizeofNlMsghdr)
	if m.flags&unix.NLM_F_CAPPED == 0 && a.errno != 0 {
		at = (4 + uint64(binary.NativeEndian.Uint32(m.data[4:])) + 3) &^ 3 // with the request that it is about
	}
	if at <= uint64(len(m.data)) {
		a.reason = text(m.data[at:], unix.NLMSGERR_ATTR_MSG)
	}
	return a, true
}

// text finds a string among attributes; "" where there is none.
func text(b []byte, attr uint16) string {
	for len(b) >= unix.SizeofNlAttr {
		size, typ := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if size < unix.SizeofNlAttr || size > len(b) {
			return ""
		}
		if typ == attr {
			s, _, _ := bytes.Cut(b[unix.SizeofNlAttr:size], []byte{0})
			return string(s)
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return ""
}

// errAgain means that the kernel has given less than all: to be asked again.
var errAgain = errors.New("the kernel's answer is not whole")

// maxFailures bounds how often a socket may fail within one answer.
const maxFailures = 16

// query sends one request, with its sequence number set here, and calls each for
// every message of the answer. A dump is read to its end whatever happens, or
// the next one would be refused. The first error counts, except that an answer
// which is not whole (errAgain) proves nothing. It must not be called by each.
func (t *talk) query(request []byte, each func(message) error) error {
	t.enter()
	defer t.leave()
	t.seq++
	binary.NativeEndian.PutUint32(request[8:], t.seq)
	if err := t.socket.Send(request); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	var failed error
	whole, done := true, false
	for failures := 0; !done; {
		n, err := t.socket.Receive(t.rcv)
		if err == unix.EAGAIN || failures == maxFailures {
			return errAgain
		}
		if err == unix.ENOBUFS {
			whole, failures = false, failures+1
			continue
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		err = messages(t.rcv[:n], func(m message) {
			if m.seq != t.seq || done {
				return
			}
			var err error
			done, err = m.part(each)
			whole = whole && m.flags&unix.NLM_F_DUMP_INTR == 0
			failed = cmp.Or(failed, err)
		})
		failed = cmp.Or(failed, err)
	}
	if !whole {
		return errAgain
	}
	return failed
}

// part handles one message of an answer and reports whether it was the last.
func (m message) part(each func(message) error) (done bool, err error) {
	switch m.typ {
	case unix.NLMSG_DONE:
		if len(m.data) >= 4 {
			if code := int32(binary.NativeEndian.Uint32(m.data)); code < 0 {
				return true, syscall.Errno(-code)
			}
		}
		return true, nil
	case unix.NLMSG_ERROR:
		a, ok := m.answer()
		switch {
		case !ok:
			return true, errTruncated
		case a.errno == 0:
			return true, nil
		case a.errno == unix.EBUSY: // a dump that was given up is not over
			return true, errAgain
		}
		return true, reasoned(a)
	}
	return false, each(m)
}

func reasoned(a answer) error {
	if a.reason == "" {
		return a.errno
	}
	return fmt.Errorf("%s: %w", a.reason, a.errno)
}

// head appends a netlink header whose length finish sets.
func head(typ, flags uint16) []byte {
	b := binary.NativeEndian.AppendUint16([]byte{0, 0, 0, 0}, typ)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	return append(b, make([]byte, 8)...)
}

func finish(b []byte) []byte {
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	return b
}

// tcmsg appends struct tcmsg without handle and info.
func tcmsg(b []byte, port int32, handle, parent uint32) []byte {
	b = append(b, unix.AF_UNSPEC, 0, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, uint32(port))
	b = binary.NativeEndian.AppendUint32(b, handle)
	b = binary.NativeEndian.AppendUint32(b, parent)
	return append(b, 0, 0, 0, 0)
}
