package rtnl

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// answer is a message of kind NLMSG_ERROR, with the kernel's words where there
// are any.
func answer(seq uint32, errno unix.Errno, why string) []byte {
	body := binary.NativeEndian.AppendUint32(nil, uint32(-int32(errno)))
	body = append(body, make([]byte, unix.SizeofNlMsghdr)...)
	flags := uint16(unix.NLM_F_CAPPED)
	if why != "" {
		flags |= unix.NLM_F_ACK_TLVS
		body = appendAttr32(body, unix.NLMSGERR_ATTR_OFFS, 8)
		body = appendAttr(body, unix.NLMSGERR_ATTR_MSG, append([]byte(why), 0))
	}
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	b = binary.NativeEndian.AppendUint16(b, unix.NLMSG_ERROR)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	return append(append(b, 0, 0, 0, 0), body...)
}

// TestFullTables: a driver that has no room says so in words, under a number that
// also stands for a missing right.
func TestFullTables(t *testing.T) {
	const words = "netdevsim: Exceeded number of supported fib entries"
	changes := make([]Change, 4)
	for i := range changes {
		changes[i].Prefix = netip.MustParsePrefix("2001:db8::7/128")
	}
	errs := make([]error, len(changes))
	b := append(answer(7, unix.EPERM, words), answer(8, unix.EPERM, "")...)
	if readAnswers(append(b, answer(9, unix.ENOSPC, "")...), 7, 10, changes, errs) {
		t.Error("done before the last answer")
	}
	if !readAnswers(answer(10, 0, "a warning"), 7, 10, changes, errs) || errs[3] != nil {
		t.Errorf("not done, or failed, after the last answer: %v", errs[3])
	}
	for i, want := range []struct {
		errno unix.Errno
		full  bool
	}{{unix.EPERM, true}, {unix.EPERM, false}, {unix.ENOSPC, true}} {
		if !errors.Is(errs[i], want.errno) || errors.Is(errs[i], ErrFull) != want.full {
			t.Errorf("answer %d: %v, want %v, a full table %t", i, errs[i], want.errno, want.full)
		}
	}
	if !strings.HasSuffix(errs[0].Error(), words) {
		t.Errorf("without the driver's words: %v", errs[0])
	}
}

// TestReasonOfAnything must not read past a message that is cut short.
func TestReasonOfAnything(t *testing.T) {
	whole := answer(1, unix.EPERM, "why")
	for n := range whole {
		if got := Reason(whole[:n]); got != "" && got != "why" {
			t.Errorf("of %d bytes: %q", n, got)
		}
	}
}
