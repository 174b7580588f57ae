package gateway

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// Goal: who asks for one of systemd's credentials while the service does not run is told why it is not there;
// of other files that would be wrong.
func TestTokenThatIsNotThere(t *testing.T) {
	const said = "while the service runs"
	for file, want := range map[string]bool{
		credentialsFolder + "absent.service/token_influx": true, filepath.Join(t.TempDir(), "influx"): false,
	} {
		_, err := readToken(file)
		if !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), said) != want {
			t.Errorf("%s: %v", file, err)
		}
	}
}
