package rtnl

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Refusal is the kernel's answer to a request that failed.
type Refusal struct {
	Errno unix.Errno
	Why   string // the kernel's or a driver's words (NLMSGERR_ATTR_MSG); "" = none
}

func (r Refusal) Error() string {
	if r.Why == "" {
		return r.Errno.Error()
	}
	return r.Errno.Error() + ": " + r.Why
}

func (r Refusal) Unwrap() error { return r.Errno }

// Full reports whether a table had no room: the kernel's, or that of a switch
// whose driver follows the kernel's routes. A driver that refuses a route in the
// kernel's notifier says why, and the number that comes out is often EPERM; a
// missing capability comes without words.
func (r Refusal) Full() bool {
	return r.Errno == unix.ENOSPC || r.Errno == unix.EPERM && r.Why != ""
}

// Reason is NLMSGERR_ATTR_MSG of a message of kind NLMSG_ERROR, whose request is
// cut off behind its header (NETLINK_CAP_ACK); "" = none.
func Reason(b []byte) string {
	const fixed = unix.SizeofNlMsghdr + 4 + unix.SizeofNlMsghdr
	if len(b) < fixed || binary.NativeEndian.Uint16(b[6:])&unix.NLM_F_ACK_TLVS == 0 {
		return ""
	}
	for b = b[fixed:]; len(b) >= 4; {
		size := int(binary.NativeEndian.Uint16(b))
		if size < 4 || size > len(b) {
			return ""
		}
		if binary.NativeEndian.Uint16(b[2:]) == unix.NLMSGERR_ATTR_MSG {
			return unix.ByteSliceToString(b[4:size])
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return ""
}
