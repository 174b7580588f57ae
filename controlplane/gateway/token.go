package gateway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"
)

const (
	// tokenInterval is how often a token's file is read again: within it a token that was mended is in use.
	tokenInterval = time.Second
	// credentialsVariable names the folder of systemd's credentials (LoadCredential=).
	credentialsVariable = "CREDENTIALS_DIRECTORY"
	// credentialsFolder is where systemd keeps them, a folder for each service.
	credentialsFolder = "/run/credentials/"
)

// credentialPath is where a secret's file is: one that is not there is looked for by its name among the
// credentials that systemd has passed.
func credentialPath(file string) string {
	folder := os.Getenv(credentialsVariable)
	if folder == "" {
		return file
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		return file
	}
	credential := filepath.Join(folder, filepath.Base(file))
	if _, err := os.Stat(credential); err != nil {
		return file
	}
	return credential
}

// readToken reads the file that holds a token, and nothing where no file is named. Its errors never hold what
// the file holds.
func readToken(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	text, err := os.ReadFile(credentialPath(file))
	if errors.Is(err, os.ErrNotExist) && strings.HasPrefix(file, credentialsFolder) {
		return "", fmt.Errorf("read the token: %w; systemd has it there while the service runs", err)
	}
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	switch {
	case token == "":
		return "", fmt.Errorf("read the token: %s is empty", file)
	case strings.ContainsFunc(token, unicode.IsControl):
		return "", fmt.Errorf("read the token: %s holds more than one line", file)
	}
	return token, nil
}

// followToken gives workers the token anew whenever its file holds another one, until the context ends. While
// the file cannot be read, or holds none, the old one stays.
func (g *Gateway) followToken(ctx context.Context, s *sink) {
	said := ""
	for range each(ctx, tokenInterval) {
		token, err := readToken(s.config.TokenFile)
		if err != nil {
			if said != err.Error() {
				g.log.Warn("token not read again, the old one stays", "sink", s.config.Name, "error", err)
			}
			said = err.Error()
			continue
		}
		said = ""
		if token == s.token {
			continue
		}
		s.token = token
		g.log.Info("token read again", "sink", s.config.Name)
		g.reauthorize(s, token)
	}
}

// reauthorize gives all workers a sink's token.
func (g *Gateway) reauthorize(s *sink, token string) {
	for _, t := range s.urls() {
		g.reauthorizeURL(s, t, token)
	}
	for _, d := range g.spools.draining {
		if d.sink == s {
			d.reauthorize(token)
		}
	}
}
