"""The page of pipeline=serve: answers to uploads, their HTML, and the page itself."""
