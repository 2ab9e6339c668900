package card

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/cross/bundle"
	"github.com/dpmip/dpmip/cross/health"
	"github.com/dpmip/dpmip/cross/slots"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var key = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, ed25519.SeedSize))

// packed is a bundle whose "agent" is a word that the world below understands.
func packed(t *testing.T, version uint64, agent string, by ed25519.PrivateKey) []byte {
	t.Helper()
	var b bytes.Buffer
	m := bundle.Manifest{Version: version, Fuse: version, Release: fmt.Sprintf("v%d", version), Arch: "arm64",
		Files: []bundle.File{{Name: Agent, Mode: 0o755, Data: []byte(agent)}}}
	if err := bundle.Pack(&b, m, by); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// world runs "agents": files that say how they behave.
type world struct {
	mu      sync.Mutex // guards all fields
	running string     // what the file says
	asked   int
	history []string
}

func (w *world) Switch(_ context.Context, path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running, w.asked = string(b), 0
	w.history = append(w.history, w.running)
	return nil
}

func (w *world) Doctor(ctx context.Context) (map[string]health.Check, error) {
	w.mu.Lock()
	word, n := w.running, w.asked
	w.asked++
	w.mu.Unlock()
	all := map[string]health.Check{
		health.Management: {State: "ok"}, health.Rules: {State: "ok"}, health.VMs: {State: "ok"},
	}
	switch {
	case strings.HasPrefix(word, "hangs"):
		<-ctx.Done()
		return nil, ctx.Err()
	case strings.HasPrefix(word, "crashes"):
		return nil, errors.New("connection refused")
	case strings.HasPrefix(word, "silent"), strings.HasPrefix(word, "slow") && n < 5, strings.HasPrefix(word, "flaps") && n%2 == 1:
		all[health.Management] = health.Check{State: "warning", Found: "no heartbeat"}
	}
	return all, nil
}

// card is a card with an agent of its own in the image.
type card struct {
	*Card
	w   *world
	dir string
}

// start starts the card, as after power-on.
func start(t *testing.T, dir string) *card { return startOn(t, dir, slots.Dir(dir)) }

func startOn(t *testing.T, dir string, fs slots.FS) *card {
	t.Helper()
	store, err := slots.Open(fs, []ed25519.PublicKey{key.Public().(ed25519.PublicKey)}, "arm64")
	if err != nil {
		t.Fatal(err)
	}
	scratch := t.TempDir()
	image := scratch + "/image-agent"
	if err := os.WriteFile(image, []byte("good image"), 0o755); err != nil {
		t.Fatal(err)
	}
	w := &world{}
	c := &card{w: w, dir: dir, Card: New(Config{
		Store: store, Runner: w, Doctor: w, Scratch: scratch, Image: image, Tries: 2,
		Deadline: 30 * time.Second, Settle: 5 * time.Second, Poll: time.Second, Log: t.Logf,
	})}
	if err := w.Switch(context.Background(), c.Boot()); err != nil {
		t.Fatal(err)
	}
	return c
}

// update runs in virtual time.
func (c *card) update(t *testing.T, version uint64, agent string) error {
	t.Helper()
	return c.Update(context.Background(), bytes.NewReader(packed(t, version, agent, key)), nil)
}

func TestGoodUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c := start(t, dir)
		for v, word := range []string{"good 1", "slow 2", "good 3", "good 4"} {
			if err := c.update(t, uint64(v)+1, word); err != nil {
				t.Fatal(err)
			}
			if st := c.Status(); st.Version != uint64(v)+1 || st.Trial || st.Fuse != uint64(v)+1 || c.w.running != word {
				t.Errorf("%+v, running %q", st, c.w.running)
			}
		}
		if c := start(t, dir); c.w.running != "good 4" {
			t.Errorf("after power-on: %q", c.w.running)
		}
	})
}

func TestBadUpdatesAreTakenBack(t *testing.T) {
	for _, word := range []string{"hangs", "crashes", "silent", "flaps"} {
		t.Run(word, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				c := start(t, dir)
				if err := c.update(t, 1, "good 1"); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				if err := c.update(t, 2, word); !errors.Is(err, ErrUnfit) {
					t.Errorf("err = %v", err)
				}
				if d := time.Since(began); d > 31*time.Second { // virtual
					t.Errorf("it took %v", d)
				}
				if d := cmp.Diff([]string{"good image", "good 1", word, "good 1"}, c.w.history); d != "" {
					t.Errorf("(-want +got):\n%s", d)
				}
				st := c.Status()
				if st.Version != 1 || st.Fuse != 1 || st.Refused == nil || st.Refused.Version != 2 {
					t.Errorf("%+v", st)
				}
				if c := start(t, dir); c.w.running != "good 1" {
					t.Errorf("after power-on: %q", c.w.running)
				}
				if err := c.update(t, 3, "good 3"); err != nil {
					t.Errorf("the next update: %v", err)
				}
			})
		})
	}
}

// TestACrashingUpdateIsTakenBackAtOnce does not wait for the deadline.
func TestACrashingUpdateIsTakenBackAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, t.TempDir())
		began, done := time.Now(), make(chan error)
		go func() { done <- c.update(t, 1, "crashes") }()
		for range maxEnds { // as the supervisor reports it
			time.Sleep(time.Second)
			c.Ended("ended with status 2")
		}
		err := <-done
		if !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), "it ended 3 times: ended with status 2") {
			t.Errorf("err = %v", err)
		}
		if d := time.Since(began); d > 6*time.Second { // virtual
			t.Errorf("it took %v", d)
		}
	})
}

func TestRefusedWithoutASwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, t.TempDir())
		if err := c.update(t, 5, "good 5"); err != nil {
			t.Fatal(err)
		}
		forger := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{4}, ed25519.SeedSize))
		for name, tt := range map[string]struct {
			data []byte
			want error
		}{
			"forged": {packed(t, 6, "good 6", forger), bundle.ErrSignature},
			"old":    {packed(t, 4, "good 4", key), slots.ErrFuse},
			"torn":   {packed(t, 6, "good 6", key)[:150], bundle.ErrFormat},
		} {
			if err := c.Update(context.Background(), bytes.NewReader(tt.data), nil); !errors.Is(err, tt.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := c.Counted(Refused); n != 3 {
			t.Errorf("%d refusals were counted", n)
		}
		if d := cmp.Diff([]string{"good image", "good 5"}, c.w.history); d != "" {
			t.Errorf("the agent was touched (-want +got):\n%s", d)
		}
	})
}

// tight is a folder with so much room.
type tight struct {
	slots.Dir
	room *int // bytes; negative = any number
}

type tightFile struct {
	slots.File
	room *int
}

func (d tight) Create(name string) (slots.File, error) {
	f, err := d.Dir.Create(name)
	return tightFile{f, d.room}, err
}

func (f tightFile) Write(b []byte) (int, error) {
	if *f.room < 0 {
		return f.File.Write(b)
	}
	n, err := f.File.Write(b[:min(len(b), *f.room)])
	if *f.room -= n; err == nil && n < len(b) {
		err = unix.ENOSPC
	}
	return n, err
}

// TestFullPartitionIsSaidAndCounted: an update for which the configuration
// partition has no room, as a whole or but for the record that it is on trial, is
// refused with that reason, counted, and touches nothing.
func TestFullPartitionIsSaidAndCounted(t *testing.T) {
	bundle := len(packed(t, 2, "good 2", key))
	for _, room := range []int{0, bundle / 2, bundle, bundle + 1} {
		synctest.Test(t, func(t *testing.T) {
			dir, left := t.TempDir(), -1
			c := startOn(t, dir, tight{slots.Dir(dir), &left})
			if err := c.update(t, 1, "good 1"); err != nil {
				t.Fatal(err)
			}
			left = room
			if err := c.update(t, 2, "good 2"); !errors.Is(err, unix.ENOSPC) || !strings.HasPrefix(err.Error(), "slots: ") {
				t.Errorf("room for %d bytes: %v, want that there is no space left", room, err)
			}
			if n := c.Counted(Refused); n != 1 {
				t.Errorf("room for %d bytes: %d refusals were counted", room, n)
			}
			if d := cmp.Diff([]string{"good image", "good 1"}, c.w.history); d != "" {
				t.Errorf("room for %d bytes: the agent was touched (-want +got):\n%s", room, d)
			}
			if left = -1; start(t, dir).w.running != "good 1" {
				t.Error("the next start runs another agent")
			}
			if err := c.update(t, 3, "good 3"); err != nil {
				t.Errorf("with room again: %v", err)
			}
		})
	}
}

// TestCorruptSlotIsSaidAndCounted damages the running slot's file: the next start
// runs the image's own agent, says why, and takes an update.
func TestCorruptSlotIsSaidAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c := start(t, dir)
		if err := c.update(t, 1, "good 1"); err != nil {
			t.Fatal(err)
		}
		file := dir + "/a.bundle"
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)-20] ^= 0xff
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		c = start(t, dir)
		if c.w.running != "good image" || c.Counted(SlotProblems) != 1 {
			t.Errorf("running %q, %d problems counted", c.w.running, c.Counted(SlotProblems))
		}
		if err := c.update(t, 2, "good 2"); err != nil {
			t.Errorf("the next update: %v", err)
		}
		var text strings.Builder
		if err := c.WriteMetrics(&text); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"\ndpmip_init_slot_problems_total 1\n", "\ndpmip_init_updates_confirmed_total 1\n", "\ndpmip_init_fuse 2\n", `{slot="b",release="v2",version="2"} 1`, "\ndpmip_init_trial 0\n"} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("no %q in:\n%s", want, text.String())
			}
		}
	})
}

// TestPowerCutDuringTheTrial ends the card in the middle: the next start goes
// on, and a bundle that never proves itself is given up after its tries.
func TestPowerCutDuringTheTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c := start(t, dir)
		if err := c.update(t, 1, "good 1"); err != nil {
			t.Fatal(err)
		}
		cut := func(c *card, word string) {
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			err := c.Update(ctx, bytes.NewReader(packed(t, 2, word, key)), nil)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("err = %v", err)
			}
		}
		cut(c, "good 2")
		c = start(t, dir)
		if c.w.running != "good 2" || !c.Status().Trial {
			t.Fatalf("after the cut: %q, %+v", c.w.running, c.Status())
		}
		if err := c.Resume(context.Background()); err != nil || c.Status().Trial {
			t.Fatalf("%v, %+v", err, c.Status())
		}
		if err := c.Resume(context.Background()); err != nil {
			t.Errorf("without a trial: %v", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if err := c.Update(ctx, bytes.NewReader(packed(t, 3, "hangs", key)), nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("err = %v", err)
		}
		for _, want := range []string{"hangs", "good 2", "good 2"} { // one try is left
			if c = start(t, dir); c.w.running != want {
				t.Fatalf("running %q, want %q", c.w.running, want)
			}
		}
	})
}

func TestOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, t.TempDir())
		done := make(chan error)
		go func() { done <- c.update(t, 1, "slow 1") }()
		synctest.Wait()
		if err := c.update(t, 2, "good 2"); !errors.Is(err, ErrBusy) {
			t.Errorf("err = %v", err)
		}
		if st := c.Status(); st.Doing == "" || !st.Trial {
			t.Errorf("%+v", st)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
