package kernelbtf

import (
	"runtime"
	"testing"
	"time"
)

func TestCacheIsSharedAndGivenBack(t *testing.T) {
	c := Cache()
	if Cache() != c {
		t.Error("two caches at one time")
	}
	if _, err := c.Kernel(); err != nil {
		t.Fatal(err)
	}
	runtime.KeepAlive(c)
	deadline := time.Now().Add(10 * time.Second)
	for shared.Value() != nil {
		if time.Now().After(deadline) {
			t.Fatal("the cache is kept though nobody holds it")
		}
		runtime.GC()
	}
}
