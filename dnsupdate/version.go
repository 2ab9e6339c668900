package dnsupdate

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/dpmip/dpmip/mobility"
)

// Version orders what is written for one VM: first by the epoch of the move,
// then by Step, which its author raises with every new State of that epoch
// (published, TTL restored, one address withdrawn). Two states of one Version
// are the same state.
type Version struct {
	Epoch mobility.Epoch `json:"epoch"`
	Step  uint32         `json:"step"`
}

// Compare gives -1, 0 or +1 as v is older than, equal to or newer than w.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Epoch, w.Epoch), cmp.Compare(v.Step, w.Step))
}

func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Epoch, v.Step) }

// EpochLabel is the label in front of a name under which its epoch records lie.
const EpochLabel = "_dpmip-epoch"

// epochTag begins every epoch record and names the layout of the rest.
const epochTag = "v=dpmip1"

// ErrEpochRecord says that a TXT record below EpochLabel is not one of ours;
// nothing is written beside it until the operator has removed it.
var ErrEpochRecord = errors.New("dnsupdate: not an epoch record")

// EpochRecord is one VM's record beside a name. The record of a name that
// several VMs share exists once for each of them.
//
//	_dpmip-epoch.www.example. 0 TXT "v=dpmip1" "vm=vm1@example" "epoch=7" "step=2" ["gone"]
type EpochRecord struct {
	VM      mobility.VMID
	Version Version
	// Gone says that the VM has no record at the name any more: a tombstone,
	// which still makes late updates of earlier hosts fail.
	Gone bool
}

// Text is the content as TXT strings, special characters escaped as in a zone
// file.
func (r EpochRecord) Text() []string {
	s := []string{
		epochTag,
		"vm=" + escaper.Replace(r.VM.String()),
		"epoch=" + strconv.FormatUint(uint64(r.Version.Epoch), 10),
		"step=" + strconv.FormatUint(uint64(r.Version.Step), 10),
	}
	if r.Gone {
		s = append(s, "gone")
	}
	return s
}

// ParseEpochRecord reads the strings of one TXT record; every error wraps
// ErrEpochRecord.
func ParseEpochRecord(text []string) (EpochRecord, error) {
	bad := func(what string) (EpochRecord, error) {
		return EpochRecord{}, fmt.Errorf("%w: %s in %q", ErrEpochRecord, what, text)
	}
	gone := len(text) == 5 && text[4] == "gone"
	if len(text) != 4 && !gone || text[0] != epochTag {
		return bad("unknown layout")
	}
	id, ok := strings.CutPrefix(text[1], "vm=")
	if !ok {
		return bad("no VM")
	}
	vm, err := mobility.ParseVMID(unescaper.Replace(id))
	if err != nil {
		return bad(err.Error())
	}
	epoch, ok := field(text[2], "epoch=")
	if !ok {
		return bad("bad epoch")
	}
	step, ok := field(text[3], "step=")
	if !ok {
		return bad("bad step")
	}
	return EpochRecord{VM: vm, Version: Version{mobility.Epoch(epoch), step}, Gone: gone}, nil
}

func field(s, prefix string) (uint32, bool) {
	digits, ok := strings.CutPrefix(s, prefix)
	n, err := strconv.ParseUint(digits, 10, 32)
	return uint32(n), ok && err == nil
}

var (
	escaper   = strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	unescaper = strings.NewReplacer(`\\`, `\`, `\"`, `"`)
)
