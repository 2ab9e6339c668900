package slots

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
)

// Slot is one of the two places; None is neither: the image's own programs.
type Slot string

// The slots.
const (
	None Slot = ""
	A    Slot = "a"
	B    Slot = "b"
)

func (s Slot) String() string {
	if s == None {
		return "image"
	}
	return string(s)
}

// file is the slot's bundle.
func (s Slot) file() string { return string(s) + ".bundle" }

// other is the slot that is not s; of None it is a.
func (s Slot) other() Slot {
	if s == A {
		return B
	}
	return A
}

// State is what is remembered over a power cut.
type State struct {
	Active Slot `json:"active"` // has proved itself
	// Trial has yet to; None most of the time. Tries is how often it may still
	// be started before it counts as bad.
	Trial Slot `json:"trial"`
	Tries int  `json:"tries"`
	// Refused says why the last bundle that failed did so.
	Refused *Refusal `json:"refused,omitempty"`
}

// Refusal is the end of a trial that failed.
type Refusal struct {
	Version uint64 `json:"version"`
	Release string `json:"release"`
	Reason  string `json:"reason"`
}

const (
	stateFile    = "state"
	fuseFile     = "fuse"
	incomingFile = "incoming"
)

// maxSmall is the most that is read of state and fuse.
const maxSmall = 64 << 10

// ErrState is a state or fuse file that cannot be understood.
var ErrState = errors.New("slots: damaged state")

// readSmall reads a small file; nil where there is none.
func readSmall(fsys FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("slots: %s: %w", name, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSmall))
	if err != nil {
		return nil, fmt.Errorf("slots: %s: %w", name, err)
	}
	return b, nil
}

// replace writes a file so that a power cut leaves the old or the new one.
func replace(fsys FS, name string, data []byte) error {
	tmp := name + ".tmp"
	f, err := fsys.Create(tmp)
	if err != nil {
		return fmt.Errorf("slots: %s: %w", tmp, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = fsys.Remove(tmp) // gives the space back; the error says enough
		return fmt.Errorf("slots: %s: %w", tmp, err)
	}
	return swap(fsys, tmp, name)
}

// swap makes from, which is synced, the file that to names.
func swap(fsys FS, from, to string) error {
	if err := fsys.Rename(from, to); err != nil {
		return fmt.Errorf("slots: %s: %w", to, err)
	}
	if err := fsys.SyncDir(); err != nil {
		return fmt.Errorf("slots: %s: %w", to, err)
	}
	return nil
}

func readState(fsys FS) (State, error) {
	var st State
	b, err := readSmall(fsys, stateFile)
	if err != nil || b == nil {
		return st, err
	}
	if err := json.Unmarshal(b, &st); err != nil {
		return State{}, fmt.Errorf("%w: %v", ErrState, err)
	}
	for _, s := range []Slot{st.Active, st.Trial} {
		if s != None && s != A && s != B {
			return State{}, fmt.Errorf("%w: there is no slot %q", ErrState, string(s))
		}
	}
	return st, nil
}

func writeState(fsys FS, st State) error {
	b, err := json.Marshal(st)
	if err != nil {
		return fmt.Errorf("slots: %w", err)
	}
	return replace(fsys, stateFile, append(b, '\n'))
}

// readFuse gives 0 where there is none.
func readFuse(fsys FS) (uint64, error) {
	b, err := readSmall(fsys, fuseFile)
	if err != nil || b == nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: fuse: %q is no number", ErrState, strings.TrimSpace(string(b)))
	}
	return n, nil
}

func writeFuse(fsys FS, n uint64) error {
	return replace(fsys, fuseFile, strconv.AppendUint(nil, n, 10))
}
