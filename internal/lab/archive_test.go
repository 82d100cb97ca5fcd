package lab

import "testing"

// A release is looked for where the machine's own packages come from, and nowhere else.
func TestDebianSources(t *testing.T) {
	const addresses = `http://mirror.example/debian/
http://mirror.example/debian/
https://other.example/apt/
https://mirror.example/debian-security/
https://packages.example/ubuntu/
`
	const options = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg lang=none target=Packages] "
	want := options + "http://mirror.example/debian/ bullseye main\n" +
		options + "https://mirror.example/debian-security/ bullseye-security main\n"
	if got := debianSources(addresses, "bullseye"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := debianSources("https://packages.example/ubuntu/\n", "bullseye"); got != "" {
		t.Errorf("of another distribution: %q", got)
	}
}
