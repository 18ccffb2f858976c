export default function Page() { return <p>explain</p>; }
