package switchdev

import "time"

// askEswitch asks for the e-switch's mode. It takes as long as a change of the
// mode does: mu must not be held.
func (d *Device) askEswitch() (lost string, untold bool) {
	if d.cfg.Eswitch == nil {
		return "", false
	}
	lost, err := d.cfg.Eswitch()
	return lost, err != nil
}

// noteEswitch takes what a look has found of the e-switch: what could not be
// told stays as it was. Caller holds mu.
func (d *Device) noteEswitch(s *scene) {
	if s.untold {
		s.lost, s.untold = d.scene.lost, false
	}
	switch {
	case s.lost == d.scene.lost:
	case s.lost == "":
		d.cfg.Log.Info("the e-switch is in switchdev mode again: filters come back")
	default:
		d.figures.EswitchLost++
		d.cfg.Log.Warn("the e-switch has left switchdev mode: filters go, and the slow path takes all packets until it is back", "err", s.lost)
	}
}

// stand puts a unit on the rung that it is to be tried on: without an e-switch
// that takes filters the last one, else the present one, or the best where it is
// time to climb. Caller holds mu.
func (d *Device) stand(u *unit, now time.Time) {
	switch {
	case d.scene.lost != "":
		u.rung, u.fallen, u.climbs, u.offer = len(d.ladder)-1, true, 0, false
		u.climbAt = now.Add(d.cfg.Climb) // when what could not be removed is tried again
	case u.fallen:
		u.rung, u.fallen, u.offer = 0, false, d.ladder[0].hardware
	case u.rung > 0 && !now.Before(u.climbAt):
		u.rung, u.climbs, u.offer = 0, u.climbs+1, d.ladder[0].hardware
	}
}

// returns reports whether a unit is to be looked at when it may climb: one that
// waits for the e-switch only where it still has filters.
func (d *Device) returns(u *unit) bool {
	return u.rung > 0 && (!u.fallen || len(d.ledger.units[u.key]) > 0)
}
