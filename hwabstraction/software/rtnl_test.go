package software

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
)

// errorMessage is what the kernel answers with NETLINK_CAP_ACK and
// NETLINK_EXT_ACK to the request seq.
func errorMessage(seq uint32, code int32, why string) []byte {
	body := binary.NativeEndian.AppendUint32(nil, uint32(code))
	body = append(body, make([]byte, unix.NLMSG_HDRLEN)...)
	flags := uint16(0)
	if why != "" {
		flags = unix.NLM_F_ACK_TLVS
		body = appendAttr32(body, unix.NLMSGERR_ATTR_OFFS, 8)
		body = appendAttr(body, unix.NLMSGERR_ATTR_MSG, append([]byte(why), 0))
	}
	return appendMessage(nil, rtMessage{kind: unix.NLMSG_ERROR, body: body}, flags, seq)
}

func TestAnswers(t *testing.T) {
	const full = "netdevsim: Exceeded number of supported fib entries"
	errs := make([]error, 4)
	b := errorMessage(7, -int32(unix.EPERM), full)
	b = append(b, errorMessage(8, -int32(unix.EPERM), "")...)
	b = append(b, errorMessage(9, -int32(unix.ENOSPC), "")...)
	if answers(b, 7, errs) {
		t.Error("done before the last answer")
	}
	if !answers(errorMessage(10, 0, "a warning"), 7, errs) {
		t.Error("not done after the last answer")
	}
	for i, want := range []struct {
		errno error
		full  bool
	}{{unix.EPERM, true}, {unix.EPERM, false}, {unix.ENOSPC, true}} {
		err := routeError(errs[i])
		if !errors.Is(err, want.errno) || errors.Is(err, hwabstraction.ErrTableFull) != want.full {
			t.Errorf("answer %d: %v, want %v, a full table %t", i, err, want.errno, want.full)
		}
	}
	if errs[3] != nil || errs[0].Error() != unix.EPERM.Error()+": "+full {
		t.Errorf("%v", errs)
	}
}
