package nicmem

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
)

// writerPath in the environment makes the test binary a writer that runs until
// it is killed.
const writerPath = "NICMEM_TEST_WRITER_PATH"

func TestMain(m *testing.M) {
	if path := os.Getenv(writerPath); path != "" {
		fmt.Fprintln(os.Stderr, write(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func killConfig(path string) Config {
	return Config{Path: path, Size: 1 << 17, Areas: []AreaSpec{{Name: "journal"}}}
}

const killKeys = 50

// recordOf is the content of a key in its n-th version: every byte follows from
// n, so that a mixture is seen.
func recordOf(n uint32) (hwabstraction.Stamp, []byte) {
	s := hwabstraction.Stamp{Epoch: n}
	payload := make([]byte, 1+n%MaxJournalPayload)
	for i := range payload {
		payload[i] = byte(n)
	}
	binary.LittleEndian.PutUint32(s.Owner[7:], n)
	return s, payload
}

// write puts records in turn and acknowledges each on standard output. Version
// numbers divisible by 7 delete instead.
func write(path string) error {
	r, err := Open(killConfig(path))
	if err != nil {
		return err
	}
	a, err := r.Area("journal")
	if err != nil {
		return err
	}
	j, err := OpenJournal(a.Bytes())
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(uint64(os.Getpid()), 1))
	for n := uint32(1); ; n++ {
		key := fmt.Sprintf("rule%d", rng.IntN(killKeys))
		if n%7 == 0 {
			j.Delete([]byte(key))
		} else if s, payload := recordOf(n); true {
			if err := j.Put([]byte(key), s, payload); err != nil {
				return err
			}
		}
		if _, err := fmt.Println(key, n); err != nil {
			return err
		}
	}
}

// TestKill kills a writer at any moment, again and again, and compares what its
// successor finds with what the writer had acknowledged.
func TestKill(t *testing.T) {
	path := config(t).Path
	acked := map[string]uint32{}
	for round := range 8 {
		last := killWriter(t, path, 300+round*131, acked)
		r := mustOpen(t, killConfig(path))
		if round == 0 && r.Origin() != hwabstraction.RegionAdopted {
			t.Errorf("origin %v, want adopted", r.Origin())
		}
		j := mustJournal(t, mustArea(t, r, "journal").Bytes())
		if s := j.Stats(); s.Torn != 0 {
			t.Errorf("round %d: %d torn", round, s.Torn)
		}
		unacked := 0
		for key := range killKeys {
			key := fmt.Sprintf("rule%d", key)
			got, found, err := j.Get([]byte(key), nil)
			if err != nil {
				t.Fatal(err)
			}
			n := got.Stamp.Epoch
			if want := acked[key]; !found && (want == 0 || want%7 == 0) || found && n == want {
				// as acknowledged
			} else if unacked++; found && n != last+1 || !found && (last+1)%7 != 0 {
				t.Errorf("round %d: %s: version %d (found %v), want %d, or %d that was never acknowledged", round, key, n, found, want, last+1)
			}
			if s, payload := recordOf(n); found && (got.Stamp != s || string(got.Payload) != string(payload)) {
				t.Errorf("round %d: %s: versions are mixed: %v %x", round, key, got.Stamp, got.Payload)
			}
			acked[key] = 0 // what is there now is where the next writer starts
			if found {
				acked[key] = n
			}
		}
		if unacked > 1 {
			t.Errorf("round %d: %d keys differ from what was acknowledged, want at most 1", round, unacked)
		}
		mustClose(t, r)
	}
}

// killWriter runs a writer, kills it after n acknowledgements, and enters all
// that it gave into acked. It returns the last version acknowledged.
func killWriter(t *testing.T, path string, n int, acked map[string]uint32) (last uint32) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), writerPath+"="+path)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer watchdog.Stop()
	seen := 0
	for lines := bufio.NewScanner(out); lines.Scan(); seen++ {
		var key string
		if _, err := fmt.Sscan(lines.Text(), &key, &last); err != nil {
			t.Fatalf("acknowledgement %q: %v", lines.Text(), err) // lines this short are written whole
		}
		acked[key] = last
		if seen == n {
			if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL || seen < n {
		t.Fatalf("the writer ended after %d acknowledgements with %v: %s", seen, err, stderr.String())
	}
	return last
}
