package kernelbtf

import (
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"
)

func TestTypesAreSharedAndGivenBack(t *testing.T) {
	var kept *btf.Cache
	err := Use(func(c *btf.Cache) error {
		kept = c
		_, err := c.Kernel()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	no := errors.New("no")
	err = Use(func(c *btf.Cache) error {
		if c != kept {
			t.Error("two caches at one time")
		}
		return no
	})
	if err != no {
		t.Errorf("the use ended with %v, want its own error", err)
	}
	runtime.KeepAlive(kept)
	kept = nil
	deadline := time.Now().Add(10 * time.Second)
	for shared.Value() != nil {
		if time.Now().After(deadline) {
			t.Fatal("the cache is kept though nobody holds it")
		}
		runtime.GC()
	}
}

func TestUsesFollowOneAnother(t *testing.T) {
	var wg sync.WaitGroup
	inside, most := 0, 0
	for range 50 {
		wg.Go(func() {
			_ = Use(func(*btf.Cache) error {
				inside++
				most = max(most, inside)
				runtime.Gosched()
				inside--
				return nil
			})
		})
	}
	wg.Wait()
	if most != 1 {
		t.Errorf("%d uses at one time", most)
	}
}
