"""What the way costs on which questions and answers travel, with Flower's real processes on one machine."""
