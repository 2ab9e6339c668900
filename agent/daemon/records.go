package daemon

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/dpmip/dpmip/agent"
	"github.com/dpmip/dpmip/agent/bul"
	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/mobility"
)

// Records keeps records in the Binding Update List, in NIC memory, and a copy
// on disk: the memory is what an answer waits for, the disk is for a reboot of
// the card and lags behind by a write.
type Records struct {
	list *bul.List
	disk *Disk
	log  *slog.Logger
}

// OpenRecords opens the list in a region. Where that was made anew (first
// start, reboot, damage) the records come back from disk. It returns what was
// restored, and whether the region's own content was lost.
func OpenRecords(region hwabstraction.Region, disk *Disk, log *slog.Logger) (r *Records, restored []agent.Record, fresh bool, err error) {
	r = &Records{disk: disk, log: log}
	fresh = region.Origin() != hwabstraction.RegionAdopted
	var found reading
	var whole bool
	r.list, whole, err = bul.OpenEach(region.Bytes(), func(e *bul.Entry) { found.take(e) })
	if errors.Is(err, bul.ErrCorrupt) {
		log.Error("the binding update list is damaged: taking the copy on disk", "err", err)
		fresh = true
		r.list, err = bul.Format(region.Bytes())
		found, whole = reading{}, true
	}
	if err != nil {
		return nil, nil, false, fmt.Errorf("daemon: binding update list: %w", err)
	}
	if !whole { // it was given what the list does not hold
		found = reading{}
		r.list.Range(func(e *bul.Entry) bool { found.take(e); return true })
	}
	for _, err := range found.damaged {
		log.Error("an entry of the binding update list is unreadable", "err", err)
	}
	if !fresh && len(found.damaged) == 0 && r.list.Stats().Torn == 0 {
		return r, found.records, false, nil
	}
	restored, err = r.fromDisk(found.records)
	return r, restored, fresh, err
}

// reading is what a list holds.
type reading struct {
	records []agent.Record
	damaged []error // of the entries that are unreadable
}

func (r *reading) take(e *bul.Entry) {
	rec, err := agent.FromEntry(e)
	if err != nil {
		r.damaged = append(r.damaged, fmt.Errorf("%s: %w", e.ID, err))
		return
	}
	r.records = append(r.records, rec)
}

// fromDisk adds the records that only the disk has.
func (r *Records) fromDisk(have []agent.Record) ([]agent.Record, error) {
	known := make(map[mobility.VMID]bool, len(have))
	for i := range have {
		known[have[i].VM] = true
	}
	list, err := r.disk.Load()
	if err != nil {
		return nil, err
	}
	for _, rec := range list {
		if known[rec.VM] {
			continue
		}
		if err := r.put(rec); err != nil {
			r.log.Error("a record from disk does not fit into the region", "vm", rec.VM.String(), "err", err)
		}
		have = append(have, rec)
	}
	return have, nil
}

func (r *Records) put(rec agent.Record) error {
	e, err := rec.ToEntry()
	if err != nil {
		return err
	}
	return r.list.Put(&e)
}

// Put keeps a record. ErrRegionFull: there is no room, nothing has changed.
func (r *Records) Put(rec agent.Record) error {
	if err := r.put(rec); err != nil {
		return err
	}
	r.disk.Put(rec)
	return nil
}

// Delete forgets a record.
func (r *Records) Delete(rec agent.Record) {
	r.list.Delete(rec.VM)
	r.disk.Delete(rec.VM)
}

// Stats tells how full the list is. It is the loop's to call.
func (r *Records) Stats() bul.Stats { return r.list.Stats() }
