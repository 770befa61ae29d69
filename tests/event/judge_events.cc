// Says for each line of stdin, a document in hexadecimal, whether a queue's reader accepts it: "accept", or "reject"
// and the first reason. For schema_agreement_test.py.
#include <iostream>
#include <string>

#include "event/email_event.h"

int main() {
  postbus::EventDecoder decoder;
  postbus::EmailEvent event;
  std::string line;
  std::string document;
  while (std::getline(std::cin, line)) {
    document.clear();
    for (size_t at = 0; at + 1 < line.size(); at += 2) {
      document += static_cast<char>(std::stoi(line.substr(at, 2), nullptr, 16));
    }
    if (decoder.Decode(document, postbus::Strictness::kQueue, event)) {
      std::cout << "accept\n";
    } else {
      const postbus::Violation& violation = decoder.violations().front();
      std::cout << "reject " << violation.pointer << ": " << violation.detail << "\n";
    }
  }
  return 0;
}
