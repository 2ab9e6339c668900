package wire

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestTimestamp(t *testing.T) {
	rows := []struct {
		at   time.Time
		want Timestamp
	}{
		{time.Unix(0, 0), 0},
		{time.Unix(1400000000, 500_000_000), 1400000000<<16 | 0x8000},
		{time.Unix(1, 999_999_999), 1<<16 | 0xffff},
		{time.Unix(-1, 0), 0},
		{time.Time{}, 0},
		{time.Unix(1<<48-1, 0), 1<<64 - 1<<16},
		{time.Unix(1<<48, 0), 1<<64 - 1},
	}
	for _, r := range rows {
		if got := TimestampOf(r.at); got != r.want {
			t.Errorf("TimestampOf(%v) = %#x, want %#x", r.at, uint64(got), uint64(r.want))
		}
	}
	for range 10000 {
		ts := Timestamp(rand.Uint64())
		if got := TimestampOf(ts.Time()); got != ts {
			t.Fatalf("%#x -> %v -> %#x", uint64(ts), ts.Time(), uint64(got))
		}
	}
}

func TestNTPTime(t *testing.T) {
	rows := []struct {
		at   time.Time
		want NTPTime
	}{
		{time.Unix(0, 0), 2208988800 << 32},
		{time.Unix(1767225600, 500_000_000), 0xed003780_80000000},
		{time.Date(2036, 2, 7, 6, 28, 15, 0, time.UTC), 0xffffffff << 32},
		{time.Date(2036, 2, 7, 6, 28, 16, 0, time.UTC), 0},
		{time.Date(2100, 1, 1, 0, 0, 0, 1, time.UTC), 0x7830d580_00000004},
	}
	for _, r := range rows {
		if got := NTPTimeOf(r.at); got != r.want {
			t.Errorf("NTPTimeOf(%v) = %#x, want %#x", r.at, uint64(got), uint64(r.want))
		}
		if got := r.want.Time(); !got.Equal(r.at) {
			t.Errorf("%#x.Time() = %v, want %v", uint64(r.want), got, r.at)
		}
	}
	for range 10000 {
		at := time.Unix(rand.Int64N(4<<30-1<<27), rand.Int64N(1e9))
		if got := NTPTimeOf(at).Time(); !got.Equal(at) {
			t.Fatalf("%v -> %v", at, got)
		}
	}
}
