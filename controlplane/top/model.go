// Package top is the terminal's view of a running gateway, live: rates, latencies, the ledger, workers,
// sinks, alerts. It reads the stream that the dashboard reads, and computes nothing that the gateway does not
// say, except rates.
//
//	follow (a goroutine): server-sent events → messages → Model → View
package top

import (
	"time"

	tea "charm.land/bubbletea/v2"

	"culvert/controlplane/telemetry"
)

// historyMax is how many moments sparklines show at most: three minutes.
const historyMax = 200

// Model is the state of the view. It belongs to the program that runs it.
type Model struct {
	url           string
	width, height int
	top           int // the first line that is shown
	paused        bool

	now, before *telemetry.Picture // nil until they came
	came        time.Time          // when now came
	lost        error              // why the connection is gone; nil while it is there

	received, written, p99 []float64 // the last moments, oldest first
}

// New is a view of the gateway at this URL before anything has come.
func New(url string) *Model { return &Model{url: url, width: 80, height: 24} }

// PictureMsg is a new state of the gateway.
type PictureMsg struct{ *telemetry.Picture }

// LostMsg says that the connection is gone, or could not be made; it is tried again.
type LostMsg struct{ Err error }

// Init is tea.Model's: what comes is sent by Follow.
func (m *Model) Init() tea.Cmd { return nil }

// Update is tea.Model's.
func (m *Model) Update(message tea.Msg) (tea.Model, tea.Cmd) {
	switch message := message.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = message.Width, message.Height
	case PictureMsg:
		m.lost = nil
		if !m.paused {
			m.take(message.Picture)
		}
	case LostMsg:
		m.lost = message.Err
	case tea.KeyPressMsg:
		return m, m.press(message.String())
	}
	return m, nil
}

func (m *Model) press(key string) tea.Cmd {
	page := max(m.height-2, 1)
	switch key {
	case "q", "esc", "ctrl+c":
		return tea.Quit
	case "p", "space":
		m.paused = !m.paused
	case "up", "k":
		m.top--
	case "down", "j":
		m.top++
	case "pgup":
		m.top -= page
	case "pgdown":
		m.top += page
	case "home", "g":
		m.top = 0
	}
	return nil
}

// take enters a new state.
func (m *Model) take(p *telemetry.Picture) {
	if m.now != nil && p.Status.UptimeSeconds < m.now.Status.UptimeSeconds {
		// Another run of the gateway, which counts from 0.
		m.now, m.received, m.written, m.p99 = nil, nil, nil, nil
	}
	m.before, m.now, m.came = m.now, p, time.Now()
	if m.before != nil {
		m.received = remember(m.received, m.rate(p.Status.Ledger.Received, m.before.Status.Ledger.Received))
		m.written = remember(m.written, m.rate(p.Status.Ledger.Written, m.before.Status.Ledger.Written))
	}
	m.p99 = remember(m.p99, p.Health.P99["end_to_end"])
}

func remember(values []float64, value float64) []float64 {
	values = append(values, value)
	return values[max(len(values)-historyMax, 0):]
}

// rate is a count's growth a second between the two last states.
func (m *Model) rate(now, before uint64) float64 {
	if m.before == nil || now < before {
		return 0
	}
	seconds := m.now.Status.Taken.Sub(m.before.Status.Taken).Seconds()
	if seconds <= 0 {
		return 0
	}
	return float64(now-before) / seconds
}

// View is tea.Model's.
func (m *Model) View() tea.View {
	v := tea.NewView(m.Page())
	v.AltScreen, v.WindowTitle = true, "culvert top"
	return v
}
