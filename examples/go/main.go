// The back-end of a shop that sends mails through postbus: POST /api/password-reset {"email":"ada@example.com"}
//
// Environment: LISTEN (:4001); KAFKA_ENABLED=true with KAFKA_BROKERS and KAFKA_TOPIC, else SMTP_HOST, SMTP_PORT, SMTP_USER
// and SMTP_PASSWORD.
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"os"

	"usualstore/messaging"
)

type application struct {
	messagingProducer *messaging.Producer // nil: KAFKA_ENABLED is not true
}

func (app *application) SendPasswordResetEmail(w http.ResponseWriter, r *http.Request) {
	var payload struct {
		Email string `json:"email"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&payload); err != nil || payload.Email == "" {
		http.Error(w, `send {"email":"…"}`, http.StatusBadRequest)
		return
	}
	data := map[string]interface{}{"Link": "https://usualstore.com/reset?token=abc123"}

	if app.messagingProducer == nil {
		err := sendEmail("noreply@usualstore.com", payload.Email, "Password Reset Request", "Reset it: {{.Link}}\r\n", data)
		if err != nil {
			log.Print("the mail was not sent")
			http.Error(w, "try again later", http.StatusBadGateway)
			return
		}
		writeJSON(w, http.StatusAccepted, map[string]interface{}{"sent": true})
		return
	}
	id, err := app.messagingProducer.SendEmail(
		r.Context(),
		"noreply@usualstore.com",
		payload.Email,
		"Password Reset Request",
		"password-reset",
		data,
		messaging.PriorityHigh,
	)
	if err != nil {
		log.Print("Kafka did not take the mail: ", err)
		http.Error(w, "try again later", http.StatusServiceUnavailable)
		return
	}
	writeJSON(w, http.StatusAccepted, map[string]interface{}{"sent": true, "id": id})
}

func writeJSON(w http.ResponseWriter, status int, body interface{}) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

func environment(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func main() {
	app := &application{}
	if os.Getenv("KAFKA_ENABLED") == "true" {
		app.messagingProducer = messaging.NewProducer(
			environment("KAFKA_BROKERS", "localhost:9093"), environment("KAFKA_TOPIC", "email-queue"))
		defer app.messagingProducer.Close()
	}
	http.HandleFunc("/api/password-reset", app.SendPasswordResetEmail)
	listen := environment("LISTEN", ":4001")
	log.Print("listening on ", listen)
	log.Fatal(http.ListenAndServe(listen, nil))
}
