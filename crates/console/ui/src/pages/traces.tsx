export default function Page() { return <p>traces</p>; }
