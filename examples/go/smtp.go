package main

import (
	"bytes"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"text/template"
)

// sendEmail is how mails were sent before: the request waits for the mail server, and a mail it does not take is lost.
// Still there for KAFKA_ENABLED=false.
func sendEmail(from, to, subject, text string, data map[string]interface{}) error {
	parsed, err := template.New("text").Parse(text)
	if err != nil {
		return err
	}
	var mail bytes.Buffer
	fmt.Fprintf(&mail, "From: %s\r\nTo: %s\r\nSubject: %s\r\n\r\n", from, to, subject)
	if err := parsed.Execute(&mail, data); err != nil {
		return err
	}
	host := os.Getenv("SMTP_HOST")
	var auth smtp.Auth
	if user := os.Getenv("SMTP_USER"); user != "" {
		auth = smtp.PlainAuth("", user, os.Getenv("SMTP_PASSWORD"), host)
	}
	return smtp.SendMail(net.JoinHostPort(host, os.Getenv("SMTP_PORT")), auth, from, []string{to}, mail.Bytes())
}
