package stage

import (
	"encoding/json"
	"fmt"
	"os"

	"culvert/bench/receive"
	"culvert/scripts/lab"
)

// AlertAddress is where alerts are received, in the sender's namespace.
const AlertAddress = lab.SenderAddr + ":8090"

// AlertReceiver receives alerts beside the sender, on its CPUs: those of the workers are the gateway's.
type AlertReceiver struct{ child *lab.Child }

// OpenAlerts starts it.
func (s *Stage) OpenAlerts() (*AlertReceiver, error) {
	s.runs++
	log := fmt.Sprintf("%s/%03d-alerts.log", s.Folder, s.runs)
	child, err := lab.StartChildAt(s.lab.Sender, place(s.Places.SenderList()), log, s.Self, "alerts",
		"-listen", AlertAddress)
	if err != nil {
		return nil, err
	}
	return &AlertReceiver{child: child}, nil
}

// Close ends it and returns what it measured.
func (r *AlertReceiver) Close() (*receive.AlertTimes, error) {
	if err := r.child.Stop(); err != nil {
		return nil, fmt.Errorf("receive alerts: %w\n%s", err, r.child.LastWords())
	}
	text, err := os.ReadFile(r.child.Log())
	if err != nil {
		return nil, fmt.Errorf("read what the receiver of alerts measured: %w", err)
	}
	times := new(receive.AlertTimes)
	if err := json.Unmarshal(text, times); err != nil {
		return nil, fmt.Errorf("read what the receiver of alerts measured: %w\n%s", err, r.child.LastWords())
	}
	return times, nil
}
