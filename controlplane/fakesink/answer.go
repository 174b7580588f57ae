package fakesink

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

func servePing(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

func serveHealth(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]string{"name": "culvert sink", "status": "pass"})
}

func (s *Sink) serveStats(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, s.Stats())
}

// The parts of 1.x's answer to a query that clients read.
type results struct {
	Results []result `json:"results"`
}

type result struct {
	Statement int      `json:"statement_id"`
	Series    []series `json:"series,omitempty"`
	Error     string   `json:"error,omitempty"`
}

type series struct {
	Name    string   `json:"name"`
	Columns []string `json:"columns"`
	Values  [][]any  `json:"values"`
}

// serveQuery knows the two statements that a client asks before it writes.
func (s *Sink) serveQuery(w http.ResponseWriter, r *http.Request) {
	statement := strings.TrimSuffix(strings.TrimSpace(r.FormValue("q")), ";")
	words := strings.Fields(statement)
	var answered result
	switch {
	case len(words) == 2 && strings.EqualFold(statement, "show databases"):
		names := slices.Sorted(maps.Keys(s.Stats().Databases))
		found := series{Name: "databases", Columns: []string{"name"}}
		for _, name := range names {
			found.Values = append(found.Values, []any{name})
		}
		answered.Series = []series{found}
	case len(words) >= 3 && strings.EqualFold(words[0]+" "+words[1], "create database"):
		s.create(strings.Trim(words[2], `"`))
	case statement == "":
		answer(w, http.StatusBadRequest, message{Error: `missing required parameter "q"`})
		return
	default:
		answered.Error = "culvert sink keeps no points; it knows SHOW DATABASES and CREATE DATABASE"
	}
	answer(w, http.StatusOK, results{[]result{answered}})
}
