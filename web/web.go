// Package web holds the dashboard's files: what `make web` has bundled, with plots, or else the page as it
// stands in page/, which shows the same figures as tables. It serves nothing itself.
package web

import (
	"embed"
	"fmt"
	"io/fs"
)

// The folder dist is there in every checkout, empty but for a file that keeps git from taking the rest.
//
//go:embed page all:dist
var embedded embed.FS

// Files is the dashboard: index.html, and what it loads from beside it.
func Files() (fs.FS, error) {
	for _, folder := range []string{"dist", "page"} {
		files, err := fs.Sub(embedded, folder)
		if err != nil {
			return nil, fmt.Errorf("open the dashboard: %w", err)
		}
		if _, err := fs.Stat(files, "index.html"); err == nil {
			return files, nil
		}
	}
	return nil, fmt.Errorf("open the dashboard: index.html: %w", fs.ErrNotExist)
}
