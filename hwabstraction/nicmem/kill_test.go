package nicmem

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/internal/killtest"
)

func TestMain(m *testing.M) { killtest.Main(m, write) }

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
		var last uint32
		killtest.Kill(t, path, 300+round*131, func(line string) {
			var key string
			if _, err := fmt.Sscan(line, &key, &last); err != nil {
				t.Fatalf("acknowledgement %q: %v", line, err)
			}
			acked[key] = last
		})
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
